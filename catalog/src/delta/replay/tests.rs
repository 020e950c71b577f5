//! Partition values as the log spells them; batches that are merged.

use serde_json::{Value, json};

use super::*;
use crate::delta::fixture::{Table, add, created, field, list};
use crate::error::Error;

/// A partition value as the log spells it -> as the column has it, or what the error says.
async fn check(kind: &str, value: Value, expect: Result<&str, &str>) {
    let table = Table::new();
    let fields = [field("x", "long", json!({})), field("p", kind, json!({}))];
    let features: &[&str] = if kind == "timestamp_ntz" {
        &["timestampNtz"]
    } else {
        &[]
    };
    let mut actions = created(&fields, &["p"], json!({}), features);
    actions.push(add("f", json!({"p": value}), Value::Null));
    table.commit(0, &actions);
    let snapshot = table.latest().await.unwrap();
    match (list(&snapshot, "").await, expect) {
        (Ok(list), Ok(expect)) => {
            let constant = &list.sets[0].files[0].constants[0];
            assert_eq!(constant.to_string(), expect, "{kind} {value}");
            assert_eq!(&constant.data_type(), snapshot.schema().field(1).data_type());
        }
        (Err(error), Err(expect)) => {
            assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
            assert!(error.to_string().contains(expect), "{error}");
        }
        (found, _) => panic!("{kind} {value}: {found:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_values_are_parsed() {
    check("string", json!("a/b ü"), Ok("a/b ü")).await;
    // Only the empty text means NULL.
    check(
        "string",
        json!("__HIVE_DEFAULT_PARTITION__"),
        Ok("__HIVE_DEFAULT_PARTITION__"),
    )
    .await;
    check("integer", json!("-7"), Ok("-7")).await;
    check("boolean", json!("true"), Ok("true")).await;
    check("double", json!("2021.5"), Ok("2021.5")).await;
    check("date", json!("1969-12-31"), Ok("1969-12-31")).await;
    check("decimal(5,2)", json!("-1.25"), Ok("-1.25")).await;
    check("binary", json!("ab"), Ok("6162")).await;
    check("timestamp", json!("2020-01-01 12:00:00.123456"), Ok("1577880000123456")).await;
    check(
        "timestamp",
        json!("2020-01-01T12:00:00.123456Z"),
        Ok("1577880000123456"),
    )
    .await;
    check("timestamp_ntz", json!("1970-01-02"), Ok("86400000000")).await;
    check("timestamp_ntz", json!("1969-12-31 23:59:59"), Ok("-1000000")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_means_null_is_null() {
    for kind in ["string", "integer", "date", "timestamp"] {
        for value in [Value::Null, json!("")] {
            check(kind, value, Ok("NULL")).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_value_is_damage() {
    check("integer", json!("seven"), Err("seven")).await;
    check("date", json!("2020-13-01"), Err("2020-13-01")).await;
    check("boolean", json!("maybe"), Err("maybe")).await;
}

#[test]
fn small_batches_are_merged() {
    let batch = |paths: &[&str]| {
        let paths: ArrayRef = Arc::new(arrow::array::StringArray::from(paths.to_vec()));
        RecordBatch::try_from_iter_with_nullable([("path", paths, true)]).unwrap()
    };
    let merged = merge(vec![batch(&["a"]), batch(&[]), batch(&["b", "c"])]).unwrap();
    let merged: Vec<RecordBatch> = merged.iter().map(FileBatch::files).collect();
    assert_eq!(merged, [batch(&["a", "b", "c"])]);
    let many = batch(&vec!["a"; BATCH_FILES_MAX]);
    let rows: Vec<usize> = merge(vec![batch(&["a"]), many])
        .unwrap()
        .iter()
        .map(|batch| batch.files().num_rows())
        .collect();
    assert_eq!(rows, [1, BATCH_FILES_MAX]);
}
