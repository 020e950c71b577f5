//! What manifests say of written columns, against the values.

use std::collections::HashMap;
use std::sync::Arc;

use iceberg::spec::NestedField;

use super::*;

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.to_owned()))
}

fn binary(value: &[u8]) -> ScalarValue {
    ScalarValue::BinaryView(Some(value.to_vec()))
}

#[test]
fn text_bounds_are_cut_to_sixteen_characters() {
    let check = |value: &str, low: &str, high: Option<&str>| {
        assert_eq!(lower(&text(value)).as_deref(), Some(low.as_bytes()), "{value}");
        assert_eq!(upper(&text(value)).as_deref(), high.map(str::as_bytes), "{value}");
    };
    check("", "", Some(""));
    check("sixteen letters!", "sixteen letters!", Some("sixteen letters!"));
    check("sixteen letters!!", "sixteen letters!", Some("sixteen letters\""));
    check("üüüüüüüüüüüüüüüüü", "üüüüüüüüüüüüüüüü", Some("üüüüüüüüüüüüüüüý"));
    // The last character before the surrogates, and the last one of all.
    check(
        "aaaaaaaaaaaaaaa\u{d7ff}a",
        "aaaaaaaaaaaaaaa\u{d7ff}",
        Some("aaaaaaaaaaaaaaa\u{e000}"),
    );
    check(
        "aaaaaaaaaaaaaaa\u{10ffff}a",
        "aaaaaaaaaaaaaaa\u{10ffff}",
        Some("aaaaaaaaaaaaaab"),
    );
    let greatest = "\u{10ffff}".repeat(17);
    check(&greatest, &"\u{10ffff}".repeat(16), None);
}

#[test]
fn binary_bounds_are_cut_to_sixteen_bytes() {
    let check = |value: &[u8], low: &[u8], high: Option<&[u8]>| {
        assert_eq!(lower(&binary(value)).as_deref(), Some(low));
        assert_eq!(upper(&binary(value)).as_deref(), high);
    };
    check(&[0xff; 16], &[0xff; 16], Some(&[0xff; 16]));
    check(&[0xff; 17], &[0xff; 16], None);
    check(
        &[7; 17],
        &[7; 16],
        Some(&[7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8]),
    );
}

/// Whatever the text, its bounds enclose it.
#[test]
fn cut_bounds_enclose_every_text() {
    let letters = ['a', '\u{7f}', 'ü', '\u{d7ff}', '\u{ffff}', '😀', '\u{10ffff}'];
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize
    };
    for _ in 0..10_000 {
        let value: String = (0..random() % 20).map(|_| letters[random() % letters.len()]).collect();
        let low = lower(&text(&value)).unwrap();
        assert!(low.as_slice() <= value.as_bytes(), "{value:?}");
        if let Some(high) = upper(&text(&value)) {
            assert!(high.as_slice() >= value.as_bytes(), "{value:?}");
            assert!(
                String::from_utf8(high).unwrap().chars().count() <= BOUND_LENGTH_MAX,
                "{value:?}"
            );
        }
    }
}

fn column(nulls: u64, nans: Option<u64>, min: ScalarValue, max: ScalarValue) -> WrittenColumn {
    WrittenColumn {
        size_bytes: 10,
        values: 3,
        nulls: Some(nulls),
        nans,
        min: Some(min),
        max: Some(max),
    }
}

#[test]
fn a_manifest_entry_has_counts_and_bounds_by_field_id() {
    let field = |id, name: &str, kind| Arc::new(NestedField::optional(id, name, Type::Primitive(kind)));
    let decimal = PrimitiveType::Decimal {
        precision: 15,
        scale: 2,
    };
    let fields = [
        field(1, "id", PrimitiveType::Long),
        field(2, "name", PrimitiveType::String),
        field(3, "price", decimal.clone()),
        field(4, "rate", PrimitiveType::Double),
    ];
    let schema = Schema::builder().with_fields(fields).build().unwrap();
    let unknown = WrittenColumn {
        min: None,
        max: None,
        ..column(0, Some(2), text("x"), text("x"))
    };
    let file = WrittenFile {
        partition: Vec::new(),
        spec_id: 0,
        location: "file:///t/data/a.parquet".to_owned(),
        size_bytes: 500,
        rows: 3,
        row_group_offsets: vec![4],
        columns: vec![
            column(0, None, ScalarValue::Int64(Some(-1)), ScalarValue::Int64(Some(7))),
            column(1, None, text("a"), text("b")),
            column(
                0,
                None,
                ScalarValue::Decimal128(Some(-5), 15, 2),
                ScalarValue::Decimal128(Some(1234), 15, 2),
            ),
            unknown,
        ],
    };
    let entry = data_file(&file, &schema, &PartitionSpec::unpartition_spec()).unwrap();
    assert_eq!(
        (entry.record_count(), entry.file_size_in_bytes(), entry.split_offsets()),
        (3, 500, Some(&[4_i64][..]))
    );
    assert_eq!(
        *entry.null_value_counts(),
        HashMap::from([(1, 0), (2, 1), (3, 0), (4, 0)])
    );
    assert_eq!(*entry.nan_value_counts(), HashMap::from([(4, 2)]));
    let price = |unscaled: i128| Datum::try_from_bytes(&unscaled.to_be_bytes(), decimal.clone()).unwrap();
    let lower = HashMap::from([(1, Datum::long(-1)), (2, Datum::string("a")), (3, price(-5))]);
    let upper = HashMap::from([(1, Datum::long(7)), (2, Datum::string("b")), (3, price(1234))]);
    assert_eq!(*entry.lower_bounds(), lower);
    assert_eq!(*entry.upper_bounds(), upper);
}
