//! Commits against real logs, read back by the reader.

use datafusion::common::ScalarValue;
use datafusion::logical_expr::{col, lit};
use futures::future::join_all;
use roaring::RoaringTreemap;

use super::*;
use crate::delta::fixture::{Table, add, created, field, list, names, stats};
use crate::error::Error;
use crate::write::change::DeletedRows;
use crate::write::{WrittenColumn, WrittenFile};

/// A table with the column `x`, and files `a` (0 to 9) and `b` (10 to 19) of ten rows.
fn table(configuration: Value, features: &[&str]) -> Table {
    let table = Table::new();
    let mut actions = created(&[field("x", "long", json!({}))], &[], configuration, features);
    actions.push(add("a", json!({}), stats(10, json!(0), json!(9), 0)));
    actions.push(add("b", json!({}), stats(10, json!(10), json!(19), 0)));
    table.commit(0, &actions);
    table
}

fn file(table: &Table, name: &str, min: i64, max: i64) -> WrittenFile {
    WrittenFile {
        location: format!("file://{}/{name}", table.location()),
        size_bytes: 100,
        rows: 10,
        row_group_offsets: vec![4],
        columns: vec![WrittenColumn {
            size_bytes: 100,
            values: 10,
            nulls: Some(0),
            nans: None,
            min: Some(ScalarValue::Int64(Some(min))),
            max: Some(ScalarValue::Int64(Some(max))),
        }],
        partition: Vec::new(),
        spec_id: 0,
    }
}

fn append(table: &Table, name: &str, min: i64, max: i64) -> Change {
    Change {
        operation: Operation::Append,
        added: vec![file(table, name, min, max)],
        removed: Vec::new(),
        deleted: Vec::new(),
        reads: Reads::Nothing,
    }
}

fn remove(operation: Operation, name: &str, reads: Reads) -> Change {
    Change {
        operation,
        added: Vec::new(),
        removed: vec![name.to_owned()],
        deleted: Vec::new(),
        reads,
    }
}

fn delete(name: &str, rows: impl IntoIterator<Item = u64>) -> Change {
    Change {
        operation: Operation::Delete,
        added: Vec::new(),
        removed: Vec::new(),
        deleted: vec![DeletedRows {
            file: name.to_owned(),
            positions: RoaringTreemap::from_iter(rows),
        }],
        reads: Reads::Rows(Some(col("x").lt(lit(5_i64)))),
    }
}

fn with_vectors() -> Table {
    table(json!({"delta.enableDeletionVectors": "true"}), &["deletionVectors"])
}

fn written(table: &Table, version: u64) -> Vec<Value> {
    let text = std::fs::read_to_string(table.log_file(&format!("{version:020}.json"))).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn actions(table: &Table, version: u64, kind: &str) -> Vec<Value> {
    written(table, version)
        .into_iter()
        .filter_map(|line| line.get(kind).cloned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_read_and_pruned() {
    let table = table(json!({}), &[]);
    let base = table.latest().await.unwrap();
    let committed = commit(&base, &append(&table, "c d.parquet", 20, 29)).await.unwrap();
    assert_eq!(committed.version, 1);
    assert_eq!(table.files("").await.unwrap(), ["a", "b", "c d.parquet"]);
    assert_eq!(table.files("x > 25").await.unwrap(), ["c d.parquet"]);
    let info = &written(&table, 1)[0]["commitInfo"];
    assert_eq!(
        (&info["operation"], &info["isBlindAppend"]),
        (&json!("WRITE"), &json!(true))
    );
    assert_eq!(actions(&table, 1, "add")[0]["path"], "c%20d.parquet");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_appends_at_once_are_fifty_versions() {
    let table = table(
        json!({"delta.enableInCommitTimestamps": "true"}),
        &["inCommitTimestamp", "rowTracking", "domainMetadata"],
    );
    // The first commit of such a table says its time.
    let mut first = vec![json!({"commitInfo": {"inCommitTimestamp": 7_000_000_000_000_i64}})];
    first.extend(created(
        &[field("x", "long", json!({}))],
        &[],
        json!({"delta.enableInCommitTimestamps": "true"}),
        &[],
    ));
    first[1] = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7,
        "writerFeatures": ["inCommitTimestamp", "rowTracking", "domainMetadata"]}});
    table.commit(0, &first);
    let base = table.latest().await.unwrap();
    let changes: Vec<Change> = (0..50).map(|i| append(&table, &format!("f{i}"), i, i)).collect();
    let commits = join_all(changes.iter().map(|change| commit(&base, change))).await;
    let mut versions: Vec<i64> = commits
        .into_iter()
        .map(|committed| committed.unwrap().version)
        .collect();
    versions.sort_unstable();
    assert_eq!(versions, (1..=50).collect::<Vec<i64>>());
    assert_eq!(table.files("").await.unwrap().len(), 50);
    let ids = (1..=50).map(|version| actions(&table, version, "add")[0]["baseRowId"].as_i64().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), (0..50).map(|i| i * 10).collect::<Vec<_>>());
    let times = (1..=50).map(|version| actions(&table, version, "commitInfo")[0]["inCommitTimestamp"].as_i64());
    assert_eq!(
        times.collect::<Vec<_>>(),
        (1..=50).map(|i| Some(7_000_000_000_000 + i)).collect::<Vec<_>>()
    );
    assert!(table.log_file("_last_checkpoint").exists());
    assert!(table.log_file(&format!("{:020}.checkpoint.parquet", 50)).exists());
    // From the checkpoint alone.
    for version in 0..50 {
        std::fs::remove_file(table.log_file(&format!("{version:020}.json"))).unwrap();
    }
    let fresh = crate::delta::DeltaCache::new(Arc::clone(table.cache.stores()));
    let at = DeltaSnapshot::at(
        "t".to_owned(),
        &table.location(),
        &crate::snapshot::AsOf::Latest,
        &fresh,
    )
    .await
    .unwrap();
    assert_eq!(names(&list(&Arc::new(at), "").await.unwrap()).len(), 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_rows_add_up_until_the_file_goes() {
    let table = with_vectors();
    let deleted = async || {
        let list = list(&table.latest().await.unwrap(), "").await.unwrap();
        let files = list.sets.iter().flat_map(|set| &set.files);
        let mut found: Vec<_> = files
            .map(|file| {
                (
                    file.path.filename().unwrap().to_owned(),
                    file.deletes.as_ref().and_then(|d| d.cardinality()),
                )
            })
            .collect();
        found.sort();
        found
    };
    let is = |name: &str, rows: Option<u64>| (name.to_owned(), rows);
    commit(&table.latest().await.unwrap(), &delete("a", [0, 3]))
        .await
        .unwrap();
    assert_eq!(deleted().await, [is("a", Some(2)), is("b", None)]);
    let add = &actions(&table, 1, "add")[0];
    let stats: Value = serde_json::from_str(add["stats"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&stats["numRecords"], &stats["tightBounds"]),
        (&json!(10), &json!(false))
    );
    assert_eq!(add["deletionVector"]["offset"], 1);
    let mut both = delete("a", [4, 3]);
    both.deleted.extend(delete("b", [9]).deleted);
    commit(&table.latest().await.unwrap(), &both).await.unwrap();
    assert_eq!(deleted().await, [is("a", Some(3)), is("b", Some(1))]);
    let removed = &actions(&table, 2, "remove");
    let of_a = removed.iter().find(|remove| remove["path"] == "a").unwrap();
    assert_eq!(of_a["deletionVector"]["cardinality"], 2);
    // One file for both, the second behind the first.
    let vectors: Vec<Value> = actions(&table, 2, "add")
        .into_iter()
        .map(|add| add["deletionVector"].clone())
        .collect();
    assert_eq!(vectors[0]["pathOrInlineDv"], vectors[1]["pathOrInlineDv"]);
    assert_ne!(vectors[0]["offset"], vectors[1]["offset"]);
    let base = table.latest().await.unwrap();
    commit(&base, &delete("a", 0..10)).await.unwrap();
    assert_eq!(deleted().await, [is("b", Some(1))]);
    assert!(actions(&table, 3, "add").is_empty());
    let late = commit(&table.latest().await.unwrap(), &delete("b", [10])).await;
    assert!(matches!(late, Err(Error::Write { .. })), "{late:?}");
    let gone = commit(&table.latest().await.unwrap(), &delete("a", [1])).await;
    assert!(matches!(gone, Err(Error::Write { .. })), "{gone:?}");
}

type Made<'a> = &'a dyn Fn(&Table) -> Change;

/// Whether `late`, computed from the same version as `first`, may follow it.
async fn check_race(first: Made<'_>, late: Made<'_>, may_follow: bool) {
    let table = with_vectors();
    let base = table.latest().await.unwrap();
    let (first, late) = (first(&table), late(&table));
    commit(&base, &first).await.unwrap();
    let outcome = commit(&base, &late).await;
    if may_follow {
        assert_eq!(outcome.unwrap().version, 2);
        return;
    }
    assert!(
        matches!(outcome, Err(Error::Conflict { .. })),
        "{outcome:?} of {late:?} after {first:?}"
    );
    let files = std::fs::read_dir(table.folder.path()).unwrap();
    let vectors = files.filter(|file| {
        file.as_ref()
            .unwrap()
            .path()
            .extension()
            .is_some_and(|end| end == "bin")
    });
    let expect = usize::from(!first.deleted.is_empty());
    assert_eq!(vectors.count(), expect, "vectors of the commit that failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_conflict_where_one_has_read_what_the_other_changes() {
    let low = || Reads::Rows(Some(col("x").lt(lit(5_i64))));
    let high = |table: &Table| append(table, "c", 20, 29);
    let within = |table: &Table| append(table, "c", 0, 9);
    let blind = |table: &Table| append(table, "d", 0, 9);
    let in_a = |_: &Table| delete("a", [1]);
    let in_b = |_: &Table| delete("b", [1]);
    let all_a = |_: &Table| remove(Operation::Delete, "a", Reads::Rows(None));
    let all_b = |_: &Table| remove(Operation::Delete, "b", Reads::Rows(None));
    let low_a = |_: &Table| remove(Operation::Delete, "a", low());
    let rewrite = |table: &Table| Change {
        added: vec![file(table, "e", 0, 9)],
        ..remove(Operation::Rewrite, "a", Reads::Nothing)
    };
    // An append that read nothing follows everything.
    check_race(&within, &blind, true).await;
    check_race(&in_a, &blind, true).await;
    check_race(&all_a, &blind, true).await;
    // A DELETE follows adds that cannot match, and no others.
    check_race(&high, &in_a, true).await;
    check_race(&within, &in_a, false).await;
    check_race(&high, &all_a, false).await;
    // Files that were read or removed, whether their rows changed or moved.
    check_race(&in_a, &in_a, false).await;
    check_race(&in_b, &in_a, true).await;
    check_race(&rewrite, &in_a, false).await;
    check_race(&in_a, &rewrite, false).await;
    check_race(&low_a, &in_a, false).await;
    check_race(&all_b, &in_a, true).await;
    check_race(&all_b, &all_a, false).await;
    // A rewrite cares for its own files alone.
    check_race(&within, &rewrite, true).await;
    check_race(&in_b, &rewrite, true).await;
    check_race(&rewrite, &rewrite, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_others_conflict_with_everything() {
    let table = table(json!({}), &[]);
    let base = table.latest().await.unwrap();
    table.commit(1, &created(&[field("y", "long", json!({}))], &[], json!({}), &[])[1..]);
    let outcome = commit(&base, &append(&table, "c", 0, 9)).await;
    assert!(matches!(outcome, Err(Error::Conflict { .. })), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_done_is_refused_by_name() {
    let check = async |configuration: Value, features: &[&str], change: &dyn Fn(&Table) -> Change, expect: &str| {
        let table = table(configuration, features);
        let error = commit(&table.latest().await.unwrap(), &change(&table))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!table.log_file(&format!("{:020}.json", 1)).exists());
    };
    let appended = |table: &Table| append(table, "c", 0, 9);
    let gone = |_: &Table| remove(Operation::Delete, "a", Reads::Rows(None));
    let vector = |_: &Table| delete("a", [1]);
    let moved = |table: &Table| Change {
        operation: Operation::Update,
        removed: vec!["a".to_owned()],
        ..append(table, "c", 0, 9)
    };
    check(json!({"delta.appendOnly": "true"}), &[], &gone, "delta.appendOnly").await;
    check(json!({}), &[], &vector, "delta.enableDeletionVectors").await;
    check(
        json!({"delta.enableChangeDataFeed": "true"}),
        &[],
        &moved,
        "delta.enableChangeDataFeed",
    )
    .await;
    check(
        json!({"delta.enableIcebergCompatV2": "true"}),
        &[],
        &appended,
        "delta.enableIcebergCompatV2",
    )
    .await;
}
