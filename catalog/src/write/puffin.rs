//! Puffin files: blobs about a table, and a footer that says what and where they are.
//!
//! Source: the Iceberg project's Puffin specification, "File structure".

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Opens a file and its footer, and closes both.
const MAGIC: [u8; 4] = *b"PFA1";

/// A file that is being put together. Neither blobs nor the footer are compressed.
pub(crate) struct PuffinFile {
    bytes: Vec<u8>,
    blobs: Vec<Value>,
}

/// What a blob is about.
pub(crate) struct BlobKind<'a> {
    /// Its type, as the specification names it.
    pub(crate) blob_type: &'a str,
    /// The field that it is computed from.
    pub(crate) field: i32,
    /// The snapshot that it is computed from, and that snapshot's sequence number; -1 for both where a commit gives them.
    pub(crate) snapshot: (i64, i64),
    /// What else is told of it.
    pub(crate) properties: BTreeMap<&'a str, String>,
}

impl PuffinFile {
    /// A file without blobs.
    pub(crate) fn new() -> Self {
        Self {
            bytes: MAGIC.to_vec(),
            blobs: Vec::new(),
        }
    }

    /// Adds a blob; where it begins.
    pub(crate) fn add(&mut self, kind: BlobKind<'_>, blob: &[u8]) -> usize {
        let offset = self.bytes.len();
        let (snapshot_id, sequence_number) = kind.snapshot;
        self.blobs.push(json!({
            "type": kind.blob_type, "fields": [kind.field], "snapshot-id": snapshot_id,
            "sequence-number": sequence_number, "offset": offset, "length": blob.len(), "properties": kind.properties,
        }));
        self.bytes.extend(blob);
        offset
    }

    /// The file, and how many bytes of it are its footer.
    pub(crate) fn finish(self) -> Result<(Vec<u8>, usize), String> {
        let Self { mut bytes, blobs } = self;
        let begin = bytes.len();
        let created_by = concat!("lakewing ", env!("CARGO_PKG_VERSION"));
        let footer = json!({"blobs": blobs, "properties": {"created-by": created_by}}).to_string();
        let footer_bytes = u32::try_from(footer.len()).map_err(|error| error.to_string())?;
        bytes.extend(MAGIC);
        bytes.extend(footer.as_bytes());
        bytes.extend(footer_bytes.to_le_bytes());
        // No flag is set: the footer is not compressed.
        bytes.extend([0; 4]);
        bytes.extend(MAGIC);
        let footer_bytes = bytes.len() - begin;
        Ok((bytes, footer_bytes))
    }
}
