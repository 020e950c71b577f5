//! Avro object container files, as manifests and manifest lists come in: the schema with its field ids, and a cursor
//! that reads one record after another without building values.
//!
//! Source: the Apache Avro specification 1.11 and appendix A of the Iceberg specification. Knows nothing of tables.

mod schema;

use std::collections::HashMap;
use std::io::Read;

use flate2::read::DeflateDecoder;

pub(crate) use schema::{Field, Kind};

/// What is wrong with the bytes, in words for the user.
pub(crate) type Result<T> = std::result::Result<T, String>;

/// A block of records above this is refused.
const BLOCK_BYTES_MAX: usize = 1 << 30;
const SYNC_BYTES: usize = 16;

/// A container file whose header has been read.
#[derive(Debug)]
pub(crate) struct Container<'a> {
    /// The header's own keys, such as Iceberg's `partition-spec-id`.
    pub(crate) metadata: HashMap<&'a str, &'a [u8]>,
    /// The fields of every record.
    pub(crate) fields: Vec<Field>,
    codec: Codec,
    sync: &'a [u8],
    blocks: Cursor<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Codec {
    Null,
    Deflate,
    Snappy,
    Zstandard,
}

impl<'a> Container<'a> {
    /// Reads the header.
    pub(crate) fn open(bytes: &'a [u8]) -> Result<Self> {
        let mut cursor = Cursor { rest: bytes };
        if cursor.take(4)? != b"Obj\x01" {
            return Err("it is no Avro file".to_owned());
        }
        let mut metadata = HashMap::new();
        cursor.blocks(|cursor| {
            let key = std::str::from_utf8(cursor.sized()?).map_err(|error| error.to_string())?;
            metadata.insert(key, cursor.sized()?);
            Ok(())
        })?;
        let sync = cursor.take(SYNC_BYTES)?;
        let codec = match metadata.get("avro.codec").copied() {
            None | Some(b"null" | b"") => Codec::Null,
            Some(b"deflate") => Codec::Deflate,
            Some(b"snappy") => Codec::Snappy,
            Some(b"zstandard") => Codec::Zstandard,
            Some(other) => return Err(format!("unknown Avro codec {}", String::from_utf8_lossy(other))),
        };
        let schema = metadata.get("avro.schema").ok_or("its header has no schema")?;
        let Kind::Record(fields) = schema::parse(schema)? else {
            return Err("its schema is no record".to_owned());
        };
        Ok(Self {
            metadata,
            fields,
            codec,
            sync,
            blocks: cursor,
        })
    }

    /// Calls `record` at the start of each record; it has to read or skip every field.
    pub(crate) fn records(&self, mut record: impl FnMut(&[Field], &mut Cursor<'_>) -> Result<()>) -> Result<()> {
        let mut blocks = self.blocks;
        while !blocks.rest.is_empty() {
            let count = blocks.varint()?;
            let packed = blocks.sized()?;
            let unpacked;
            let mut cursor = Cursor {
                rest: match self.codec {
                    Codec::Null => packed,
                    codec => {
                        unpacked = unpack(codec, packed)?;
                        &unpacked
                    }
                },
            };
            for _ in 0..count {
                if cursor.rest.is_empty() {
                    return Err("a block ends before its last record".to_owned());
                }
                record(&self.fields, &mut cursor)?;
            }
            if blocks.take(SYNC_BYTES)? != self.sync {
                return Err("a block does not end with the file's marker".to_owned());
            }
        }
        Ok(())
    }
}

fn unpack(codec: Codec, packed: &[u8]) -> Result<Vec<u8>> {
    let limited = |reader: &mut dyn Read| {
        let mut unpacked = Vec::with_capacity(packed.len().saturating_mul(4).min(BLOCK_BYTES_MAX));
        let limit = u64::try_from(BLOCK_BYTES_MAX).map_err(|error| error.to_string())?;
        let read = reader.take(limit + 1).read_to_end(&mut unpacked);
        read.map_err(|error| format!("a block cannot be unpacked: {error}"))?;
        match unpacked.len() > BLOCK_BYTES_MAX {
            true => Err(format!("a block has more than {BLOCK_BYTES_MAX} bytes")),
            false => Ok(unpacked),
        }
    };
    match codec {
        Codec::Null => Ok(packed.to_vec()),
        Codec::Deflate => limited(&mut DeflateDecoder::new(packed)),
        Codec::Zstandard => {
            let mut decoder = zstd::stream::read::Decoder::new(packed).map_err(|error| error.to_string())?;
            limited(&mut decoder)
        }
        // Avro puts a CRC-32 of the content behind it.
        Codec::Snappy => {
            let body = packed.len().checked_sub(4).ok_or("a snappy block is too short")?;
            let body = &packed[..body];
            if snap::raw::decompress_len(body).map_err(|error| error.to_string())? > BLOCK_BYTES_MAX {
                return Err(format!("a block has more than {BLOCK_BYTES_MAX} bytes"));
            }
            let unpacked = snap::raw::Decoder::new().decompress_vec(body);
            unpacked.map_err(|error| format!("a block cannot be unpacked: {error}"))
        }
    }
}

/// A place in a block. Every reader takes the kind that the schema gives to the field.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or("it ends too early")?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| "it ends too early".to_owned())
    }

    /// A zigzag number of one to ten bytes.
    fn varint(&mut self) -> Result<i64> {
        let mut value = 0_u64;
        for (position, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[position + 1..];
                return Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed());
            }
        }
        Err("a number is too long".to_owned())
    }

    fn sized(&mut self) -> Result<&'a [u8]> {
        let length = usize::try_from(self.varint()?).map_err(|_| "a length is negative")?;
        self.take(length)
    }

    /// The items of an array or map: blocks that each begin with their number of items, or its negative and their
    /// size in bytes.
    fn blocks(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        loop {
            let mut count = self.varint()?;
            if count == 0 {
                return Ok(());
            }
            if count < 0 {
                self.varint()?;
                count = count.checked_neg().ok_or("a number of items is out of range")?;
            }
            for _ in 0..count {
                // Every item of interest has at least one byte: a wrong number cannot keep this loop busy.
                if self.rest.is_empty() {
                    return Err("it ends too early".to_owned());
                }
                item(self)?;
            }
        }
    }

    /// The branch of a union that is taken here; any other kind is itself.
    fn branch<'k>(&mut self, kind: &'k Kind) -> Result<&'k Kind> {
        let mut kind = kind;
        while let Kind::Union(branches) = kind {
            let index = usize::try_from(self.varint()?).ok();
            kind = index
                .and_then(|index| branches.get(index))
                .ok_or("a union has no such branch")?;
        }
        Ok(kind)
    }

    /// An integer; `None` for null.
    pub(crate) fn integer(&mut self, kind: &Kind) -> Result<Option<i64>> {
        match self.branch(kind)? {
            Kind::Null => Ok(None),
            Kind::Int | Kind::Long | Kind::Enum => self.varint().map(Some),
            other => Err(format!("a number is expected, not {other:?}")),
        }
    }

    /// A Boolean; `None` for null.
    pub(crate) fn boolean(&mut self, kind: &Kind) -> Result<Option<bool>> {
        match self.branch(kind)? {
            Kind::Null => Ok(None),
            Kind::Boolean => Ok(Some(self.take(1)? != [0])),
            other => Err(format!("a Boolean is expected, not {other:?}")),
        }
    }

    /// Text or binary; `None` for null.
    pub(crate) fn bytes(&mut self, kind: &Kind) -> Result<Option<&'a [u8]>> {
        match self.branch(kind)? {
            Kind::Null => Ok(None),
            Kind::Bytes { .. } | Kind::String => self.sized().map(Some),
            Kind::Fixed { length, .. } => self.take(*length).map(Some),
            other => Err(format!("bytes are expected, not {other:?}")),
        }
    }

    /// Text; `None` for null.
    pub(crate) fn text(&mut self, kind: &Kind) -> Result<Option<&'a str>> {
        let bytes = self.bytes(kind)?;
        bytes
            .map(|bytes| std::str::from_utf8(bytes).map_err(|error| error.to_string()))
            .transpose()
    }

    /// A primitive value in Iceberg's binary single-value form; `None` for null.
    pub(crate) fn single_value(&mut self, kind: &Kind) -> Result<Option<Vec<u8>>> {
        Ok(Some(match self.branch(kind)? {
            Kind::Null => return Ok(None),
            Kind::Boolean => self.take(1)?.to_vec(),
            Kind::Int => {
                let value = i32::try_from(self.varint()?).map_err(|error| error.to_string())?;
                value.to_le_bytes().to_vec()
            }
            Kind::Long => self.varint()?.to_le_bytes().to_vec(),
            Kind::Float => self.array::<4>()?.to_vec(),
            Kind::Double => self.array::<8>()?.to_vec(),
            Kind::Bytes { .. } | Kind::String => self.sized()?.to_vec(),
            Kind::Fixed { length, .. } => self.take(*length)?.to_vec(),
            other => return Err(format!("a partition value cannot be {other:?}")),
        }))
    }

    /// The fields of the record that begins here; `None` for null.
    pub(crate) fn record<'k>(&mut self, kind: &'k Kind) -> Result<Option<&'k [Field]>> {
        match self.branch(kind)? {
            Kind::Null => Ok(None),
            Kind::Record(fields) => Ok(Some(fields)),
            other => Err(format!("a record is expected, not {other:?}")),
        }
    }

    /// Calls `item` at the start of each item of an array; not at all for null.
    pub(crate) fn items(&mut self, kind: &Kind, mut item: impl FnMut(&mut Self, &Kind) -> Result<()>) -> Result<()> {
        match self.branch(kind)? {
            Kind::Null => Ok(()),
            Kind::Array(items) => self.blocks(|cursor| item(cursor, items)),
            other => Err(format!("an array is expected, not {other:?}")),
        }
    }

    /// Reads over a value.
    pub(crate) fn skip(&mut self, kind: &Kind) -> Result<()> {
        match self.branch(kind)? {
            Kind::Null => {}
            Kind::Boolean => {
                self.take(1)?;
            }
            Kind::Int | Kind::Long | Kind::Enum => {
                self.varint()?;
            }
            Kind::Float => {
                self.take(4)?;
            }
            Kind::Double => {
                self.take(8)?;
            }
            Kind::Bytes { .. } | Kind::String => {
                self.sized()?;
            }
            Kind::Fixed { length, .. } => {
                self.take(*length)?;
            }
            Kind::Array(items) => self.blocks(|cursor| cursor.skip(items))?,
            Kind::Map(values) => self.blocks(|cursor| {
                cursor.sized()?;
                cursor.skip(values)
            })?,
            Kind::Record(fields) => fields.iter().try_for_each(|field| self.skip(&field.kind))?,
            Kind::Union(_) => return Err("a union inside a union".to_owned()),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
