//! Deletion vectors as both formats store them: the counterpart of what `scan/deletes/vector.rs` reads.
//!
//! ```text
//!   length of magic and bitmap │ magic │ bitmap   │ CRC-32 of magic and bitmap
//!   4 bytes, big endian        │   4   │ portable │ 4 bytes, big endian
//! ```
//! Iceberg's `deletion-vector-v1` blob is this frame whole (its size counts all of it); Delta's file format puts frames
//! behind one byte of version and counts magic and bitmap only.

use flate2::Crc;
use roaring::RoaringTreemap;

/// 1681511377, little endian.
const MAGIC: [u8; 4] = [0xD1, 0xD3, 0x39, 0x64];
/// Of length and checksum, which Delta does not count in `sizeInBytes`.
pub(crate) const FRAME_BYTES: usize = 8;

/// The positions in their frame. Fails where a frame cannot count its bytes or a position is none of a file's rows
/// (negative as a signed number).
pub(crate) fn encode(positions: &RoaringTreemap) -> Result<Vec<u8>, String> {
    if let Some(largest) = positions.max()
        && i64::try_from(largest).is_err()
    {
        return Err(format!("the row position {largest} is larger than a file can have"));
    }
    // Runs are a third of the size where whole ranges of rows go; the portable format has them.
    let mut compact = positions.clone();
    compact.optimize();
    let mut checked = Vec::with_capacity(MAGIC.len() + compact.serialized_size());
    checked.extend(MAGIC);
    compact
        .serialize_into(&mut checked)
        .map_err(|error| format!("a deletion vector cannot be encoded: {error}"))?;
    let length = u32::try_from(checked.len())
        .ok()
        .filter(|length| i32::try_from(*length).is_ok())
        .ok_or_else(|| {
            format!(
                "a deletion vector of {} bytes is larger than the formats allow",
                checked.len()
            )
        })?;
    let mut crc = Crc::new();
    crc.update(&checked);
    let mut framed = Vec::with_capacity(checked.len() + FRAME_BYTES);
    framed.extend(length.to_be_bytes());
    framed.append(&mut checked);
    framed.extend(crc.sum().to_be_bytes());
    Ok(framed)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;
    use object_store::path::Path;

    use super::*;
    use crate::scan::deletes::VectorFrame;
    use crate::scan::deletes::vector::Blob;

    /// What is encoded is what the reader of either format decodes.
    async fn check(positions: &RoaringTreemap) {
        let framed = encode(positions).unwrap();
        let store = InMemory::new();
        let path = Path::from("vector");
        let mut file = vec![1];
        file.extend(&framed);
        store.put(&path, Bytes::from(file).into()).await.unwrap();
        let size = framed.len() as u64;
        for (frame, size_bytes) in [
            (VectorFrame::Puffin, size),
            (VectorFrame::Delta, size - FRAME_BYTES as u64),
        ] {
            let blob = Blob {
                offset: 1,
                size_bytes,
                frame,
            };
            let bytes = blob.read(&store, &path).await.unwrap();
            assert_eq!(&blob.decode(&bytes).unwrap(), positions);
        }
    }

    #[tokio::test]
    async fn readers_decode_what_is_written() {
        check(&RoaringTreemap::new()).await;
        check(&[0, 3, 4, 7, 11, 18, 29].into_iter().collect()).await;
        check(&(0..200_000).collect()).await;
        check(&(0..70_000).map(|row| row * 3).collect()).await;
        check(&[5, u64::from(u32::MAX), 1 << 33, i64::MAX as u64].into_iter().collect()).await;
    }

    #[test]
    fn whole_ranges_are_small() {
        assert!(encode(&(0..1_000_000).collect()).unwrap().len() < 500);
    }

    #[test]
    fn a_position_that_no_row_has_is_refused() {
        assert!(encode(&[u64::MAX].into_iter().collect()).is_err());
    }
}
