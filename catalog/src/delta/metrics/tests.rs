//! What the log says of written columns, against the values.

use arrow::array::AsArray;
use arrow::datatypes::TimeUnit;
use delta_kernel::engine::arrow_expression::evaluate_expression::to_json;

use super::*;

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.to_owned()))
}

#[test]
fn text_bounds_are_cut_to_thirty_two_characters() {
    let check = |value: String, low: String, high: Option<String>| {
        assert_eq!(lower(&text(&value)), Some(ScalarValue::Utf8(Some(low))));
        assert_eq!(upper(&text(&value)), high.map(|high| ScalarValue::Utf8(Some(high))));
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
fn the_greatest_timestamp_is_rounded_up_to_milliseconds() {
    let check = |micros, expect: Option<i64>| {
        let timestamp = |micros| ScalarValue::TimestampMicrosecond(Some(micros), None);
        assert_eq!(upper(&timestamp(micros)), expect.map(timestamp), "{micros}");
    };
    check(1_000, Some(1_000));
    check(1_001, Some(2_000));
    check(-1_001, Some(-1_000));
    check(i64::MAX, None);
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

/// The statistics as the kernel writes them into the log.
#[test]
fn an_add_action_has_statistics_that_the_protocol_defines() {
    let micros = |micros| Some(ScalarValue::TimestampMicrosecond(Some(micros), None));
    let days = |days| Some(ScalarValue::Date32(Some(days)));
    let schema = Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8View, true),
        Field::new("price", DataType::Decimal128(15, 2), true),
        Field::new("day", DataType::Date32, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("rate", DataType::Float64, true),
    ]);
    let decimal = |unscaled| Some(ScalarValue::Decimal128(Some(unscaled), 15, 2));
    let file = WrittenFile {
        partition: Vec::new(),
        spec_id: 0,
        location: "s3://bucket/t/a.parquet".to_owned(),
        size_bytes: 500,
        rows: 3,
        row_group_offsets: vec![4],
        columns: vec![
            column(0, Some(ScalarValue::Int64(Some(-1))), Some(ScalarValue::Int64(Some(7)))),
            column(1, Some(text("a\"b")), Some(text("ü"))),
            column(0, decimal(-5), decimal(1234)),
            column(0, days(-1), days(20_000)),
            column(0, micros(-1), micros(1)),
            column(
                2,
                Some(ScalarValue::Boolean(Some(false))),
                Some(ScalarValue::Boolean(Some(true))),
            ),
            column(3, None, None),
        ],
    };
    let added = add_files(&[file], &schema, &[0, 1, 2, 3, 4, 5, 6], 1_000).unwrap();
    assert_eq!(added["path"].as_string::<i32>().value(0), "a.parquet");
    let stats = to_json(added["stats"].as_struct()).unwrap();
    let expect = concat!(
        r#"{"numRecords":3,"#,
        r#""nullCount":{"id":0,"name":1,"price":0,"day":0,"at":0,"flag":2,"rate":3},"#,
        r#""minValues":{"id":-1,"name":"a\"b","price":-0.05,"day":"1969-12-31","at":"1969-12-31T23:59:59.999"},"#,
        r#""maxValues":{"id":7,"name":"ü","price":12.34,"day":"2024-10-04","at":"1970-01-01T00:00:00.001"},"#,
        r#""tightBounds":true}"#,
    );
    assert_eq!(stats.as_string::<i32>().value(0), expect);
}

#[test]
fn only_wanted_columns_have_statistics() {
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int64, false),
        Field::new("b", DataType::Boolean, false),
    ]);
    let none = || column(0, None, None);
    let file = WrittenFile {
        partition: Vec::new(),
        spec_id: 0,
        location: "s3://bucket/t/a.parquet".to_owned(),
        size_bytes: 1,
        rows: 3,
        row_group_offsets: Vec::new(),
        columns: vec![none(), none()],
    };
    let check = |wanted: &[usize], expect: &str| {
        let added = add_files(std::slice::from_ref(&file), &schema, wanted, 0).unwrap();
        let stats = to_json(added["stats"].as_struct()).unwrap();
        assert_eq!(stats.as_string::<i32>().value(0), expect);
    };
    check(&[], r#"{"numRecords":3,"tightBounds":true}"#);
    check(&[1], r#"{"numRecords":3,"nullCount":{"b":0},"tightBounds":true}"#);
}
