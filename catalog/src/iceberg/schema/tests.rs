//! Defaults of every primitive type, at any depth.

use serde_json::json;

use super::*;

fn defaults_of(fields: &Value) -> Result<BTreeMap<i32, ScalarValue>, String> {
    let json = json!({"type": "struct", "schema-id": 0, "fields": fields});
    let schema: iceberg::spec::Schema = serde_json::from_value(json).unwrap();
    let written = fields.as_array().unwrap().iter().filter_map(|field| {
        let id = i32::try_from(field["id"].as_i64()?).ok()?;
        let default = field.get("initial-default")?.clone();
        Some(((id, field["type"].as_str()?.to_owned()), default))
    });
    defaults(&schema, &arrow_schema(&schema), &written.collect())
}

#[track_caller]
fn check(of: &str, json: Value, expect: ScalarValue) {
    let field = json!({"id": 1, "name": "a", "type": of, "required": false, "initial-default": json});
    assert_eq!(defaults_of(&json!([field])).unwrap()[&1], expect, "{of}");
}

#[test]
fn defaults_have_the_type_of_their_column() {
    check("boolean", json!(true), ScalarValue::Boolean(Some(true)));
    check("int", json!(34), ScalarValue::Int32(Some(34)));
    check("long", json!(i64::MIN), ScalarValue::Int64(Some(i64::MIN)));
    check("float", json!(0.5), ScalarValue::Float32(Some(0.5)));
    check("double", json!(0.5), ScalarValue::Float64(Some(0.5)));
    check(
        "decimal(9,2)",
        json!("-12.34"),
        ScalarValue::Decimal128(Some(-1234), 9, 2),
    );
    check("date", json!("1969-12-31"), ScalarValue::Date32(Some(-1)));
    check(
        "time",
        json!("00:00:00.000005"),
        ScalarValue::Time64Microsecond(Some(5)),
    );
    check(
        "timestamp",
        json!("1970-01-01T00:00:00.000005"),
        ScalarValue::TimestampMicrosecond(Some(5), None),
    );
    let utc = || Some("UTC".into());
    check(
        "timestamptz",
        json!("1970-01-01T00:00:00+00:00"),
        ScalarValue::TimestampMicrosecond(Some(0), utc()),
    );
    check(
        "timestamp_ns",
        json!("1970-01-01T00:00:00.000000005"),
        ScalarValue::TimestampNanosecond(Some(5), None),
    );
    check(
        "timestamptz_ns",
        json!("1970-01-01T00:00:01+00:00"),
        ScalarValue::TimestampNanosecond(Some(1_000_000_000), utc()),
    );
    check("string", json!("x"), ScalarValue::Utf8View(Some("x".to_owned())));
    check("binary", json!("0102"), ScalarValue::BinaryView(Some(vec![1, 2])));
    check(
        "fixed[2]",
        json!("0102"),
        ScalarValue::FixedSizeBinary(2, Some(vec![1, 2])),
    );
    let uuid = uuid::Uuid::from_u128(7);
    check(
        "uuid",
        json!(uuid.to_string()),
        ScalarValue::FixedSizeBinary(16, Some(uuid.as_bytes().to_vec())),
    );
}

#[test]
fn nested_fields_have_defaults_of_their_own() {
    let inner = json!({"type": "struct", "fields": [
        {"id": 3, "name": "c", "type": "string", "required": false, "initial-default": "x"},
    ]});
    let list = json!({"type": "list", "element-id": 4, "element-required": false, "element": {"type": "struct", "fields": [
        {"id": 5, "name": "e", "type": "int", "required": false, "initial-default": 1},
    ]}});
    let fields = json!([
        {"id": 1, "name": "a", "type": inner, "required": false},
        {"id": 2, "name": "b", "type": list, "required": false},
    ]);
    let got = defaults_of(&fields).unwrap();
    let expect = [
        (3, ScalarValue::Utf8(Some("x".to_owned()))),
        (5, ScalarValue::Int32(Some(1))),
    ];
    assert_eq!(got, BTreeMap::from(expect));
}

#[test]
fn a_default_that_cannot_be_read_is_refused() {
    let field = json!({"id": 1, "name": "a", "type": "timestamp", "required": false, "initial-default": "yesterday"});
    let error = defaults_of(&json!([field])).unwrap_err();
    assert_eq!(error, "the initial default of type timestamp (column a)");
}
