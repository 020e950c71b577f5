//! Rows that are deleted by their position in a data file.
//!
//! ```text
//!   RowDeletes (planned) ──wire──► cache ──► positions, vector   decoded once per delete file
//!                                    ├─────► selection           long runs of deleted rows, which are not read
//!                                    └─────► live                what is read of the others is dropped
//! ```

pub(crate) mod cache;
pub(crate) mod live;
mod positions;
mod rows;
pub(crate) mod selection;
pub(crate) mod vector;

use datafusion::datasource::object_store::ObjectStoreUrl;
use object_store::path::Path;

/// What is deleted from one data file: the union of all sources. Loaded by whoever reads the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RowDeletes {
    /// The data file's location as the table's metadata spells it, which position delete files repeat.
    pub(crate) data_file: String,
    /// Where the positions are.
    pub(crate) sources: Vec<DeleteSource>,
}

/// Where positions of deleted rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeleteSource {
    /// An Iceberg position delete file (Parquet): rows of `file_path` and `pos`, perhaps for other data files too.
    Positions {
        /// The bucket.
        store_url: ObjectStoreUrl,
        /// The key in the bucket.
        path: Path,
        /// Size of the object.
        size_bytes: u64,
    },
    /// A deletion vector in a file: the blob's frame differs between an Iceberg Puffin file and a Delta file.
    Vector {
        /// The bucket.
        store_url: ObjectStoreUrl,
        /// The key in the bucket.
        path: Path,
        /// Where the blob begins.
        offset: u64,
        /// Size of the blob as the metadata counts it.
        size_bytes: u64,
        /// Number of deleted rows.
        cardinality: u64,
        /// How the blob is framed.
        frame: VectorFrame,
    },
    /// A deletion vector in the metadata.
    Inline {
        /// A 64-bit roaring bitmap in the portable format, without magic and checksum.
        bitmap: Vec<u8>,
        /// Number of deleted rows.
        cardinality: u64,
    },
}

/// What stands around the bitmap of a deletion vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum VectorFrame {
    /// Puffin `deletion-vector-v1`: length (big endian), magic, bitmap, CRC-32 (big endian); the size counts all of it.
    Puffin,
    /// Delta: size (big endian), magic, bitmap, CRC-32 (big endian); the size counts magic and bitmap only.
    Delta,
}

impl RowDeletes {
    /// Exact number of deleted rows; `None` where only loading can tell.
    pub(crate) fn cardinality(&self) -> Option<u64> {
        match self.sources.as_slice() {
            [DeleteSource::Vector { cardinality, .. } | DeleteSource::Inline { cardinality, .. }] => Some(*cardinality),
            _ => None,
        }
    }
}

impl DeleteSource {
    /// Where it is, for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Positions { store_url, path, .. } => url(store_url, path),
            Self::Vector {
                store_url,
                path,
                offset,
                ..
            } => format!("the deletion vector at byte {offset} of {}", url(store_url, path)),
            Self::Inline { .. } => "a deletion vector in the metadata".to_owned(),
        }
    }
}

fn url(store_url: &ObjectStoreUrl, path: &Path) -> String {
    format!("{}{path}", store_url.as_str())
}

#[cfg(test)]
mod tests;
