use arrow::util::pretty::pretty_format_batches;
use serde_json::{Value, json};

use super::*;
use crate::delta::fixture::{Table, add, created, field, remove, stats};

fn table() -> Table {
    let table = Table::new();
    let fields = [field("x", "long", json!({})), field("p", "date", json!({}))];
    let mut actions = created(
        &fields,
        &["p"],
        json!({"delta.appendOnly": "false"}),
        &["deletionVectors"],
    );
    actions.insert(0, json!({"commitInfo": {"operation": "CREATE TABLE", "timestamp": 5}}));
    actions.push(add("a", json!({"p": "2020-01-01"}), stats(10, json!(1), json!(2), 0)));
    actions.push(add("b", json!({"p": null}), Value::Null));
    table.commit(0, &actions);
    let mut deleted = add("a", json!({"p": "2020-01-01"}), stats(10, json!(1), json!(2), 0));
    deleted["add"]["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": "vBn[lx{q8@P<9BNH/isA",
                                              "offset": 1, "sizeInBytes": 36, "cardinality": 2});
    let info = json!({"commitInfo": {"operation": "DELETE", "operationParameters": {"predicate": "[\"x = 1\"]"}}});
    let added = add("c", json!({"p": "2020-01-01"}), stats(1, json!(1), json!(2), 0));
    table.commit(1, &[remove("a"), deleted, added, info]);
    table
}

async fn check(table: &Table, what: MetadataTable, expect: &[&str]) {
    let batch = table.latest().await.unwrap().inspect(what).await.unwrap();
    let text = pretty_format_batches(&[batch]).unwrap().to_string();
    let lines = text.lines().filter(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        cells.join(";")
    });
    let mut lines: Vec<String> = lines.skip(1).collect();
    lines.sort();
    assert_eq!(lines, expect, "{what:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_tables_tell_of_the_table() {
    let table = table();
    let (first, second) = ("2020-09-13T12:26:40Z", "2020-09-13T12:27:40Z");
    let history = [
        format!("0;{first};CREATE TABLE;"),
        format!("1;{second};DELETE;{}", json!({"predicate": "[\"x = 1\"]"})),
    ];
    check(&table, MetadataTable::History, &history.each_ref().map(String::as_str)).await;
    let snapshots = [format!("0;{first};CREATE TABLE"), format!("1;{second};DELETE")];
    check(
        &table,
        MetadataTable::Snapshots,
        &snapshots.each_ref().map(String::as_str),
    )
    .await;
    let files = [
        "a;{\"p\":\"2020-01-01\"};8;1000;1970-01-01T00:00:00.001Z;true",
        "b;{\"p\":null};;1000;1970-01-01T00:00:00.001Z;false",
        "c;{\"p\":\"2020-01-01\"};1;1000;1970-01-01T00:00:00.001Z;false",
    ];
    check(&table, MetadataTable::Files, &files).await;
    check(
        &table,
        MetadataTable::Partitions,
        &["{\"p\":\"2020-01-01\"};2;9;2000", "{\"p\":null};1;;1000"],
    )
    .await;
    let properties = [
        "delta.appendOnly;false",
        "delta.feature.deletionVectors;supported",
        "delta.minReaderVersion;3",
        "delta.minWriterVersion;7",
    ];
    check(&table, MetadataTable::Properties, &properties).await;
    for none in [MetadataTable::Refs, MetadataTable::Manifests] {
        let error = table.latest().await.unwrap().inspect(none).await.unwrap_err();
        assert!(error.to_string().contains(none.name()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_found_at_the_end_of_a_large_commit() {
    let table = table();
    let padding = "x".repeat(1 << 12);
    let mut actions: Vec<Value> = (0..600)
        .map(|n| add(&format!("{n}{padding}"), json!({"p": null}), Value::Null))
        .collect();
    actions.push(json!({"commitInfo": {"operation": "WRITE"}}));
    table.commit(2, &actions);
    let history = table
        .latest()
        .await
        .unwrap()
        .inspect(MetadataTable::Snapshots)
        .await
        .unwrap();
    assert_eq!(history.column(2).as_string::<i32>().value(2), "WRITE");
}
