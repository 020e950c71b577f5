//! Deletion vectors: 64-bit roaring bitmaps in their portable form, and the frames that Iceberg and Delta put around them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

const MAGIC: [u8; 4] = [0xd1, 0xd3, 0x39, 0x64];
/// Containers above this many values are bitmaps.
const ARRAY_VALUES_MAX: usize = 4096;

/// The portable form: a count of 32-bit bitmaps, each behind its high half. With `runs`, containers are run-encoded.
pub fn roaring(positions: &BTreeSet<u64>, runs: bool) -> Vec<u8> {
    let mut bitmaps: BTreeMap<u32, BTreeMap<u16, Vec<u16>>> = BTreeMap::new();
    for position in positions {
        let containers = bitmaps.entry((position >> 32) as u32).or_default();
        let values = containers.entry((position >> 16) as u16).or_default();
        values.push(*position as u16);
    }
    let mut bytes = (bitmaps.len() as u64).to_le_bytes().to_vec();
    for (key, containers) in bitmaps {
        bytes.extend(key.to_le_bytes());
        bytes.extend(bitmap32(&containers, runs));
    }
    bytes
}

fn bitmap32(containers: &BTreeMap<u16, Vec<u16>>, runs: bool) -> Vec<u8> {
    let count = containers.len() as u32;
    let mut head = Vec::new();
    if runs {
        head.extend((12347 | ((count - 1) << 16)).to_le_bytes());
        let mut flags = vec![0_u8; containers.len().div_ceil(8)];
        (0..containers.len()).for_each(|index| flags[index / 8] |= 1 << (index % 8));
        head.extend(flags);
    } else {
        head.extend(12346_u32.to_le_bytes());
        head.extend(count.to_le_bytes());
    }
    for (key, values) in containers {
        head.extend(key.to_le_bytes());
        head.extend(((values.len() - 1) as u16).to_le_bytes());
    }
    let with_offsets = !runs || containers.len() >= 4;
    let mut offset = head.len() + if with_offsets { 4 * containers.len() } else { 0 };
    let (mut offsets, mut body) = (Vec::new(), Vec::new());
    for values in containers.values() {
        offsets.extend((offset as u32).to_le_bytes());
        let container = container(values, runs);
        offset += container.len();
        body.extend(container);
    }
    if with_offsets {
        head.extend(offsets);
    }
    head.extend(body);
    head
}

fn container(values: &[u16], runs: bool) -> Vec<u8> {
    if runs {
        let mut found: Vec<(u16, u16)> = Vec::new();
        for value in values {
            match found.last_mut() {
                Some((start, length)) if u32::from(*start) + u32::from(*length) + 1 == u32::from(*value) => {
                    *length += 1
                }
                _ => found.push((*value, 0)),
            }
        }
        let mut bytes = (found.len() as u16).to_le_bytes().to_vec();
        for (start, length) in found {
            bytes.extend(start.to_le_bytes());
            bytes.extend(length.to_le_bytes());
        }
        return bytes;
    }
    if values.len() <= ARRAY_VALUES_MAX {
        return values.iter().flat_map(|value| value.to_le_bytes()).collect();
    }
    let mut bits = vec![0_u8; 8192];
    for value in values {
        bits[usize::from(*value) / 8] |= 1 << (value % 8);
    }
    bits
}

/// Iceberg's blob `deletion-vector-v1` and Delta's file format alike: length, magic, bitmap, checksum.
pub fn framed(bitmap: &[u8]) -> Vec<u8> {
    let mut content = MAGIC.to_vec();
    content.extend(bitmap);
    let mut bytes = (content.len() as u32).to_be_bytes().to_vec();
    bytes.extend(&content);
    bytes.extend(crc32(&content).to_be_bytes());
    bytes
}

/// A Puffin file with one deletion vector per data file: the file, and offset and length of every blob.
pub fn puffin(vectors: &[(String, &BTreeSet<u64>)], runs: bool) -> (Vec<u8>, Vec<(u64, u64)>) {
    let mut file = b"PFA1".to_vec();
    let (mut places, mut blobs) = (Vec::new(), Vec::new());
    for (data_file, positions) in vectors {
        let blob = framed(&roaring(positions, runs));
        places.push((file.len() as u64, blob.len() as u64));
        let properties = json!({ "referenced-data-file": data_file, "cardinality": positions.len().to_string() });
        blobs.push(json!({
            "type": "deletion-vector-v1", "fields": [2147483645], "snapshot-id": -1, "sequence-number": -1,
            "offset": file.len(), "length": blob.len(), "properties": properties,
        }));
        file.extend(blob);
    }
    let payload = json!({ "blobs": blobs, "properties": { "created-by": "tests" } }).to_string();
    file.extend(b"PFA1");
    file.extend(payload.as_bytes());
    file.extend((payload.len() as u32).to_le_bytes());
    file.extend([0; 4]);
    file.extend(b"PFA1");
    (file, places)
}

/// Delta's inline form: magic and bitmap, as text. The length in bytes is that before the padding.
pub fn inline(bitmap: &[u8]) -> (String, usize) {
    let mut content = MAGIC.to_vec();
    content.extend(bitmap);
    let length = content.len();
    content.resize(length.next_multiple_of(4), 0);
    (z85(&content), length)
}

/// Z85: four bytes as five characters.
pub fn z85(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 85] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
    let mut text = String::new();
    for chunk in bytes.chunks_exact(4) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        for power in [52_200_625, 614_125, 7225, 85, 1] {
            text.push(char::from(DIGITS[(number / power % 85) as usize]));
        }
    }
    text
}

/// CRC-32 as in zip files.
pub fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 {
                (sum >> 1) ^ 0xedb8_8320
            } else {
                sum >> 1
            }
        })
    })
}
