//! Column mapping, wider types and reader features over logs written by hand.

use arrow::datatypes::Fields;
use serde_json::{Value, json};

use super::*;
use crate::delta::fixture::{Table, add, created, field};

fn mapping(id: u64, name: &str) -> Value {
    json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": name})
}

/// A column `a`, a struct `s` of `b`, and a partition column `p`.
fn mapped_table(mode: &str) -> Table {
    let table = Table::new();
    let inner = json!({"type": "struct", "fields": [field("b", "long", mapping(3, "col-b"))]});
    let fields = [
        field("a", "integer", mapping(1, "col-a")),
        field("s", inner, mapping(2, "col-s")),
        field("p", "string", mapping(4, "col-p")),
    ];
    let configuration = json!({"delta.columnMapping.mode": mode, "delta.columnMapping.maxColumnId": "4"});
    let mut actions = created(&fields, &["p"], configuration, &["columnMapping"]);
    let stats =
        json!({"numRecords": 2, "minValues": {"col-a": 1}, "maxValues": {"col-a": 5}, "nullCount": {"col-a": 0}});
    actions.push(add("f", json!({"col-p": "x"}), stats));
    table.commit(0, &actions);
    table
}

async fn check_mapping(mode: &str, expect: ColumnMatch, keys: [(&str, &str); 2]) {
    let table = mapped_table(mode);
    let snapshot = table.latest().await.unwrap();
    let schema = snapshot.schema();
    let key = |(key, value): (&str, &str)| HashMap::from([(key.to_owned(), value.to_owned())]);
    assert_eq!(schema.field(0).metadata(), &key(keys[0]), "{mode}");
    let DataType::Struct(inner) = schema.field(1).data_type() else {
        panic!("{schema}");
    };
    let inner: &Fields = inner;
    assert_eq!(inner[0].metadata(), &key(keys[1]), "{mode}");
    let list = crate::delta::fixture::list(&snapshot, "a > 1 AND p = 'x'")
        .await
        .unwrap();
    assert_eq!(list.columns.column_match, expect, "{mode}");
    let file = &list.sets[0].files[0];
    assert_eq!(file.constants[0].to_string(), "x", "{mode}");
    assert_eq!(file.columns[0].upper.as_ref().unwrap().to_string(), "5", "{mode}");
    assert_eq!(table.files("a > 5").await.unwrap(), [""; 0], "{mode}");
    assert_eq!(table.files("p = 'y'").await.unwrap(), [""; 0], "{mode}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_carry_the_key_of_their_file_column() {
    let names = [(PHYSICAL_NAME, "col-a"), (PHYSICAL_NAME, "col-b")];
    check_mapping("name", ColumnMatch::Name, names).await;
    let ids = [(PARQUET_FIELD_ID, "1"), (PARQUET_FIELD_ID, "3")];
    check_mapping("id", ColumnMatch::FieldId, ids).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn features_are_followed_or_refused_by_name() {
    let check = async |features: &[&str], fields: &[Value], expect: Option<&str>| {
        let table = Table::new();
        table.commit(0, &created(fields, &[], json!({}), features));
        let error = table.latest().await.err().map(|error| error.to_string());
        match (error, expect) {
            (None, None) => {}
            (Some(error), Some(expect)) => assert!(error.contains(expect), "{error}"),
            (error, _) => panic!("{features:?}: {error:?} is not {expect:?}"),
        }
    };
    let number = [field("x", "long", json!({}))];
    let variant = [field("x", "variant", json!({}))];
    let nested = [field(
        "x",
        json!({"type": "array", "elementType": "variant", "containsNull": true}),
        json!({}),
    )];
    for feature in [
        "deletionVectors",
        "timestampNtz",
        "typeWidening",
        "typeWidening-preview",
        "v2Checkpoint",
    ] {
        check(&[feature], &number, None).await;
    }
    check(&["vacuumProtocolCheck"], &number, None).await;
    check(&["variantType"], &variant, None).await;
    check(&["variantShredding"], &number, None).await;
    check(&["variantType", "variantShredding"], &variant, Some("variantShredding")).await;
    check(
        &["variantType", "variantShredding-preview"],
        &nested,
        Some("variantShredding-preview"),
    )
    .await;
    check(&["catalogManaged"], &number, Some("atalogManaged")).await;
    check(&["madeUp"], &number, Some("madeUp")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variant_is_a_struct_of_two_binaries() {
    let table = Table::new();
    table.commit(
        0,
        &created(&[field("x", "variant", json!({}))], &[], json!({}), &["variantType"]),
    );
    let snapshot = table.latest().await.unwrap();
    let DataType::Struct(inner) = snapshot.schema().field(0).data_type() else {
        panic!("{}", snapshot.schema());
    };
    let names: Vec<&str> = inner.iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["metadata", "value"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_of_narrower_types_are_widened_or_dropped() {
    let check = async |from: &str, to: &str, min: Value, max: Value, expect: (Option<&str>, Option<&str>)| {
        let changes = json!({"delta.typeChanges": [{"fromType": from, "toType": to}]});
        let table = Table::new();
        let mut actions = created(
            &[field("x", to, changes)],
            &[],
            json!({}),
            &["typeWidening", "timestampNtz"],
        );
        actions.push(add("f", json!({}), crate::delta::fixture::stats(2, min, max, 0)));
        table.commit(0, &actions);
        let snapshot = table.latest().await.unwrap();
        let list = crate::delta::fixture::list(&snapshot, "").await.unwrap();
        let column = &list.sets[0].files[0].columns[0];
        let text = |bound: &Option<datafusion::common::ScalarValue>| bound.as_ref().map(ToString::to_string);
        let found = (text(&column.lower), text(&column.upper));
        assert_eq!((found.0.as_deref(), found.1.as_deref()), expect, "{from} to {to}");
        assert_eq!(list.sets[0].files[0].rows, Some(2), "{from} to {to}");
    };
    check("byte", "long", json!(1), json!(5), (Some("1"), Some("5"))).await;
    check("integer", "double", json!(1), json!(5), (None, None)).await;
    check("float", "double", json!(0.7), json!(0.9), (None, None)).await;
    check(
        "integer",
        "decimal(12,2)",
        json!(1),
        json!(5),
        (Some("1.00"), Some("5.00")),
    )
    .await;
    check(
        "decimal(4,1)",
        "decimal(8,3)",
        json!(1.5),
        json!(2.5),
        (Some("1.500"), Some("2.500")),
    )
    .await;
    let days = (json!("2020-01-01"), json!("2020-01-02"));
    check(
        "date",
        "timestamp_ntz",
        days.0,
        days.1,
        (Some("1577836800000000"), Some("1577923200000999")),
    )
    .await;
}
