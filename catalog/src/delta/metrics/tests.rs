//! What the log says of written columns, against the values.

use arrow::datatypes::TimeUnit;

use super::*;

fn utf8(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.to_owned()))
}

#[test]
fn text_bounds_are_cut_to_thirty_two_characters() {
    let check = |value: String, low: String, high: Option<String>| {
        assert_eq!(lower(&utf8(&value)), Some(ScalarValue::Utf8(Some(low))));
        assert_eq!(upper(&utf8(&value)), high.map(|high| ScalarValue::Utf8(Some(high))));
    };
    check("a".repeat(32), "a".repeat(32), Some("a".repeat(32)));
    check(
        "ü".repeat(33),
        "ü".repeat(32),
        Some(format!("{}\u{10ffff}", "ü".repeat(32))),
    );
    check("\u{10ffff}".repeat(33), "\u{10ffff}".repeat(32), None);
}

#[test]
fn timestamps_are_cut_to_milliseconds_outwards() {
    let check = |micros, low: i64, high: Option<i64>| {
        let timestamp = |micros| ScalarValue::TimestampMicrosecond(Some(micros), None);
        assert_eq!(lower(&timestamp(micros)), Some(timestamp(low)), "{micros}");
        assert_eq!(upper(&timestamp(micros)), high.map(timestamp), "{micros}");
    };
    check(1_000, 1_000, Some(1_000));
    check(1_001, 1_000, Some(2_000));
    check(-1_001, -2_000, Some(-1_000));
}

fn column(nulls: u64, min: Option<ScalarValue>, max: Option<ScalarValue>) -> WrittenColumn {
    WrittenColumn {
        size_bytes: 10,
        values: 3,
        nulls: Some(nulls),
        nans: None,
        min,
        max,
    }
}

fn file(columns: Vec<WrittenColumn>) -> WrittenFile {
    WrittenFile {
        location: "s3://bucket/t/a.parquet".to_owned(),
        size_bytes: 500,
        rows: 3,
        row_group_offsets: vec![4],
        columns,
        partition: Vec::new(),
        spec_id: 0,
    }
}

#[test]
fn a_file_has_statistics_that_the_protocol_defines() {
    let micros =
        |micros, zone: Option<&str>| Some(ScalarValue::TimestampMicrosecond(Some(micros), zone.map(Into::into)));
    let days = |days| Some(ScalarValue::Date32(Some(days)));
    let decimal = |unscaled| Some(ScalarValue::Decimal128(Some(unscaled), 38, 2));
    let flag = |flag| Some(ScalarValue::Boolean(Some(flag)));
    let real = |real| Some(ScalarValue::Float64(Some(real)));
    let file = file(vec![
        column(
            0,
            Some(ScalarValue::Int64(Some(-1))),
            Some(ScalarValue::Int64(Some(i64::MAX))),
        ),
        column(1, Some(utf8("a\"b")), Some(utf8("ü"))),
        column(0, decimal(-5), decimal(123_456_789_012_345_678_901_234_567_890)),
        column(0, days(-1), days(20_000)),
        column(0, micros(-1, None), micros(1, Some("UTC"))),
        column(2, flag(false), flag(true)),
        column(3, None, None),
        column(0, real(-0.5), real(f64::INFINITY)),
    ]);
    let wanted: Vec<StatsColumn> = ["id", "name", "price", "day", "at", "flag", "rate", "x"]
        .iter()
        .enumerate()
        .map(|(index, name)| StatsColumn {
            index,
            name: (*name).to_owned(),
        })
        .collect();
    let expect = concat!(
        r#"{"numRecords":3,"#,
        r#""minValues":{"id":-1,"name":"a\"b","price":-0.05,"day":"1969-12-31","at":"1969-12-31T23:59:59.999","x":-0.5},"#,
        r#""maxValues":{"id":9223372036854775807,"name":"ü","price":1234567890123456789012345678.90,"#,
        r#""day":"2024-10-04","at":"1970-01-01T00:00:00.001Z"},"#,
        r#""nullCount":{"id":0,"name":1,"price":0,"day":0,"at":0,"flag":2,"rate":3,"x":0},"tightBounds":true}"#,
    );
    assert_eq!(stats(&file, &wanted), expect);
}

#[test]
fn the_table_says_which_columns_have_statistics() {
    let pair = DataType::Struct(
        vec![
            Field::new("x", DataType::Int64, true),
            Field::new("y", DataType::Int64, true),
        ]
        .into(),
    );
    let fields = [
        Field::new("col-a", DataType::Int64, false),
        Field::new("col-b", pair, false),
        Field::new("col-c", DataType::Boolean, false),
        Field::new("col-d", DataType::Timestamp(TimeUnit::Microsecond, None), false),
    ];
    let columns: Vec<_> = ["a", "b", "c", "d"].into_iter().zip(&fields).collect();
    let check = |first: Option<&str>, listed: Option<&str>, always: &[String], expect: &[usize]| {
        let found: Vec<usize> = wanted(&columns, first, listed, always)
            .iter()
            .map(|column| column.index)
            .collect();
        assert_eq!(found, expect);
    };
    check(None, None, &[], &[0, 2, 3]);
    check(Some("-1"), None, &[], &[0, 2, 3]);
    check(Some("4"), None, &[], &[0, 2]);
    check(Some("0"), None, &["col-d".to_owned()], &[3]);
    check(Some("0"), Some("`c`, D"), &[], &[2, 3]);
}

#[test]
fn partition_values_are_texts() {
    let check = |value: ScalarValue, expect: Option<&str>| {
        assert_eq!(partition_text(&value).unwrap().as_deref(), expect, "{value:?}");
    };
    check(ScalarValue::Int32(None), None);
    check(utf8("a/b %"), Some("a/b %"));
    check(ScalarValue::Boolean(Some(true)), Some("true"));
    check(ScalarValue::Date32(Some(-1)), Some("1969-12-31"));
    check(ScalarValue::Decimal128(Some(-5), 10, 2), Some("-0.05"));
    check(
        ScalarValue::TimestampMicrosecond(Some(1), Some("UTC".into())),
        Some("1970-01-01T00:00:00.000001Z"),
    );
    check(
        ScalarValue::TimestampMicrosecond(Some(1), None),
        Some("1970-01-01 00:00:00.000001"),
    );
    check(ScalarValue::Float64(Some(f64::NEG_INFINITY)), Some("-Infinity"));
    assert!(partition_text(&utf8("")).is_err());
    assert!(partition_text(&ScalarValue::BinaryView(Some(vec![1]))).is_err());
}
