//! Avro's binary encoding and container file, as far as Iceberg's metadata needs them.

use serde_json::Value;

/// Closes a block of the container; any sixteen bytes.
const MARKER: [u8; 16] = *b"lakewing-tests-0";

/// An encoder of one or more records, in the order of their schema's fields.
#[derive(Default)]
pub(super) struct Encoder(Vec<u8>);

impl Encoder {
    /// `int` and `long`: zigzag, seven bits a byte.
    pub(super) fn long(&mut self, value: i64) -> &mut Self {
        let mut rest = (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned();
        while rest >= 0x80 {
            self.0.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        self.0.push(rest as u8);
        self
    }

    /// `bytes` and `string`.
    pub(super) fn bytes(&mut self, value: &[u8]) -> &mut Self {
        self.long(value.len() as i64);
        self.fixed(value)
    }

    /// `fixed`, `float` and `double`: the bytes as they are.
    pub(super) fn fixed(&mut self, value: &[u8]) -> &mut Self {
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn boolean(&mut self, value: bool) -> &mut Self {
        self.fixed(&[u8::from(value)])
    }

    /// `["null", T]`.
    pub(super) fn optional<T>(&mut self, value: Option<T>, encode: impl FnOnce(&mut Self, T)) -> &mut Self {
        self.long(i64::from(value.is_some()));
        if let Some(value) = value {
            encode(self, value);
        }
        self
    }

    /// An array of one block.
    pub(super) fn array<T>(&mut self, items: &[T], encode: impl Fn(&mut Self, &T)) -> &mut Self {
        if !items.is_empty() {
            self.long(items.len() as i64);
            items.iter().for_each(|item| encode(self, item));
        }
        self.long(0)
    }
}

/// A container file with one uncompressed block of `count` records.
pub(super) fn container(schema: &Value, metadata: &[(&str, String)], records: &Encoder, count: usize) -> Vec<u8> {
    let mut header = vec![("avro.schema", schema.to_string()), ("avro.codec", "null".to_owned())];
    header.extend_from_slice(metadata);
    let mut file = Encoder::default();
    file.fixed(b"Obj\x01");
    file.array(&header, |file, (key, value)| {
        file.bytes(key.as_bytes()).bytes(value.as_bytes());
    });
    file.fixed(&MARKER);
    if count > 0 {
        file.long(count as i64).bytes(&records.0).fixed(&MARKER);
    }
    file.0
}
