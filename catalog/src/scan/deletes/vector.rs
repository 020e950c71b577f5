//! Deletion vectors: 64-bit roaring bitmaps in a frame with a checksum.
//!
//! ```text
//!   length of magic and bitmap │ magic │ bitmap   │ CRC-32 of magic and bitmap
//!   4 bytes, big endian        │   4   │ portable │ 4 bytes, big endian
//! ```
//! Iceberg's `deletion-vector-v1` and Delta's file format frame the bitmap alike; they differ in what the metadata
//! counts as its size, and a Delta file opens with its version.

use bytes::Bytes;
use flate2::Crc;
use object_store::path::Path;
use object_store::{ObjectStore, Result};
use roaring::RoaringTreemap;

use super::VectorFrame;

/// 1681511377, little endian.
const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
/// Of length, magic and checksum each.
const WORD_BYTES: usize = 4;
/// The version of Delta's file format that is known, in the file's first byte.
const DELTA_VERSION: u8 = 1;

/// One deletion vector in a file.
#[derive(Debug)]
pub(crate) struct Blob {
    /// Where the frame begins in its file.
    pub(crate) offset: u64,
    /// As the metadata counts it.
    pub(crate) size_bytes: u64,
    /// Whose metadata name it.
    pub(crate) frame: VectorFrame,
}

/// A blob as it was read.
#[derive(Debug)]
pub(crate) struct BlobBytes {
    /// The first byte of the file.
    version: Option<Bytes>,
    framed: Bytes,
}

impl Blob {
    /// Size of length, magic, bitmap and checksum.
    fn framed_bytes(&self) -> u64 {
        match self.frame {
            VectorFrame::Puffin => self.size_bytes,
            VectorFrame::Delta => self.size_bytes.saturating_add(8),
        }
    }

    /// The bytes that [`Self::decode`] wants.
    pub(crate) async fn read(&self, store: &dyn ObjectStore, path: &Path) -> Result<BlobBytes> {
        let framed = self.offset..self.offset.saturating_add(self.framed_bytes());
        let mut ranges = vec![framed];
        if self.frame == VectorFrame::Delta {
            ranges.push(0..1);
        }
        let mut parts = store.get_ranges(path, &ranges).await?.into_iter();
        Ok(BlobBytes {
            framed: parts.next().unwrap_or_default(),
            version: parts.next(),
        })
    }

    /// The positions, or what is wrong with the blob.
    pub(crate) fn decode(&self, bytes: &BlobBytes) -> Result<RoaringTreemap, String> {
        if let Some(version) = &bytes.version
            && version.as_ref() != [DELTA_VERSION]
        {
            return Err(format!(
                "its file has the version {version:?}, only {DELTA_VERSION} is known"
            ));
        }
        let size = bytes.framed.len();
        if u64::try_from(size) != Ok(self.framed_bytes()) {
            let wanted = self.framed_bytes();
            return Err(format!("it ends after {size} of {wanted} bytes"));
        }
        let cut = || format!("{size} bytes are too few for it");
        let (length, rest) = bytes.framed.split_first_chunk::<WORD_BYTES>().ok_or_else(cut)?;
        let (checked, checksum) = rest.split_last_chunk::<WORD_BYTES>().ok_or_else(cut)?;
        let length = u32::from_be_bytes(*length);
        if usize::try_from(length) != Ok(checked.len()) {
            let (expect, found) = (checked.len(), length);
            return Err(format!(
                "its length field says {found} where the metadata says {expect}"
            ));
        }
        let positions = checked.strip_prefix(&MAGIC).ok_or("its magic number is wrong")?;
        let mut crc = Crc::new();
        crc.update(checked);
        if crc.sum() != u32::from_be_bytes(*checksum) {
            return Err("its checksum is wrong".to_owned());
        }
        bitmap(positions)
    }
}

/// The positions of a bitmap in the portable format, or what is wrong with it.
pub(crate) fn bitmap(bytes: &[u8]) -> Result<RoaringTreemap, String> {
    RoaringTreemap::deserialize_from(bytes).map_err(|error| format!("its bitmap cannot be read: {error}"))
}
