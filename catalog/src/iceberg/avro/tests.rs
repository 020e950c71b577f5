//! Container files made by hand, whole and damaged.

use std::io::Write;

use super::*;

/// A zigzag number.
fn number(value: i64) -> Vec<u8> {
    let mut rest = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while rest >= 0x80 {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    [number(i64::try_from(bytes.len()).unwrap()), bytes.to_vec()].concat()
}

const SCHEMA: &str = r#"{"type": "record", "name": "r", "fields": [
    {"name": "a", "type": ["null", "long"], "field-id": 7},
    {"name": "b", "type": {"type": "array", "items": "string"}},
    {"name": "c", "type": {"type": "fixed", "name": "f", "size": 2, "logicalType": "decimal"}},
    {"name": "d", "type": "f"}]}"#;

fn container(codec: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let some = [
        number(1),
        number(-300),
        number(-1),
        number(2),
        sized(b"x"),
        number(0),
        b"12".to_vec(),
        b"34".to_vec(),
    ];
    let none = [number(0), number(0), b"56".to_vec(), b"78".to_vec()];
    let block = pack(&[some.concat(), none.concat()].concat());
    let header = [
        b"Obj\x01".to_vec(),
        number(2),
        sized(b"avro.codec"),
        sized(codec.as_bytes()),
        sized(b"avro.schema"),
        sized(SCHEMA.as_bytes()),
        number(0),
        vec![9; 16],
    ];
    [header.concat(), number(2), sized(&block), vec![9; 16]].concat()
}

/// The values of every record, in one text.
fn read(bytes: &[u8]) -> Result<String> {
    let container = Container::open(bytes)?;
    let mut text = String::new();
    container.records(|fields, cursor| {
        text += &format!("{:?} ", cursor.integer(&fields[0].kind)?);
        cursor.items(&fields[1].kind, |cursor, item| {
            text += cursor.text(item)?.unwrap_or("null");
            Ok(())
        })?;
        cursor.skip(&fields[2].kind)?;
        text += &format!(" {:?};", cursor.single_value(&fields[3].kind)?.unwrap());
        Ok(())
    })?;
    Ok(text)
}

#[test]
fn every_codec_gives_the_same_records() {
    let deflate = |bytes: &[u8]| {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let snappy = |bytes: &[u8]| [snap::raw::Encoder::new().compress_vec(bytes).unwrap(), vec![0; 4]].concat();
    let check = |bytes: Vec<u8>| assert_eq!(read(&bytes).unwrap(), "Some(-300) x [51, 52];None  [55, 56];");
    check(container("null", <[u8]>::to_vec));
    check(container("deflate", deflate));
    check(container("snappy", snappy));
    check(container("zstandard", |bytes| {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }));
    assert!(
        read(&container("lzma", <[u8]>::to_vec))
            .unwrap_err()
            .contains("unknown Avro codec lzma")
    );
}

#[test]
fn damaged_files_are_errors() {
    let whole = container("null", <[u8]>::to_vec);
    for length in 0..whole.len() {
        // A file that ends after its header has no records.
        let _ = read(&whole[..length]);
    }
    for position in 0..whole.len() {
        for byte in [0, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[position] = byte;
            let _ = read(&damaged);
        }
    }
    assert!(read(b"PAR1").is_err());
    assert!(read(&whole[..whole.len() - 1]).is_err());
}

#[test]
fn schemas_keep_ids_and_named_types() {
    let fields = Container::open(&container("null", <[u8]>::to_vec)).unwrap().fields;
    assert_eq!((fields[0].id, fields[1].id), (Some(7), None));
    assert_eq!(fields[0].kind.present(), &Kind::Long);
    let fixed = Kind::Fixed {
        length: 2,
        decimal: true,
    };
    assert_eq!((&fields[2].kind, &fields[3].kind), (&fixed, &fixed));
    assert!(schema::parse(br#"{"type": "record", "name": "r", "fields": [{"name": "a", "type": "r"}]}"#).is_err());
}
