//! Tables of other writers, and logs that are damaged or odd.

use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::delta::fixture::{Table, add, created, field, list};
use crate::error::Error;
use crate::stores::Stores;

/// Tables of other writers, with answers that were found by other readers.
const TABLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/delta");

async fn open(table: &str, as_of: AsOf) -> Result<Arc<DeltaSnapshot>> {
    let cache = DeltaCache::new(Stores::new(&[])?);
    let tables = Path::new(TABLES).canonicalize().unwrap();
    let location = format!("{}/{table}", tables.display());
    DeltaSnapshot::at(table.to_owned(), &location, &as_of, &cache)
        .await
        .map(Arc::new)
}

fn rows(list: &FileList) -> Option<i64> {
    let files = list.sets.iter().flat_map(|set| &set.files);
    let live = files.map(|file| {
        let deleted = file.deletes.as_ref().map_or(Some(0), |deletes| deletes.cardinality())?;
        i64::try_from(file.rows? - deleted).ok()
    });
    live.sum()
}

fn deleted(list: &FileList) -> usize {
    let files = list.sets.iter().flat_map(|set| &set.files);
    files.filter(|file| file.deletes.is_some()).count()
}

async fn check_version(name: &str, as_of: AsOf, expect: &Value) {
    let found = match open(name, as_of.clone()).await {
        Ok(snapshot) => list(&snapshot, "").await.map(|list| (snapshot, list)),
        Err(error) => Err(error),
    };
    let (snapshot, list) = match (found, expect["expect"].as_str()) {
        (Err(_), Some("error" | "rows_or_error")) => return,
        (found, Some("error")) => panic!("{name} {as_of:?}: {found:?}"),
        (found, _) => found.unwrap_or_else(|error| panic!("{name} {as_of:?}: {error}")),
    };
    if let Some(version) = expect["version"].as_i64() {
        assert_eq!(snapshot.version(), version, "{name}");
    }
    if let Some(files) = expect["files"].as_u64() {
        assert_eq!(list.pruned.files_read, files, "{name} {as_of:?}");
    }
    if let Some(vectors) = expect["deletion_vectors"].as_u64() {
        assert_eq!(deleted(&list) as u64, vectors, "{name} {as_of:?}");
    }
    let count = expect["row_count"].as_i64().or(expect["num_records"].as_i64());
    if let (Some(expect), Some(found)) = (count, rows(&list)) {
        assert_eq!(found, expect, "{name} {as_of:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_other_writers_have_their_files() {
    let Ok(expected) = std::fs::read(Path::new(TABLES).join("expected.json")) else {
        eprintln!("skipped: there are no tables in {TABLES}");
        return;
    };
    let expected: Value = serde_json::from_slice(&expected).unwrap();
    for table in expected["tables"].as_array().unwrap() {
        let name = table["path"].as_str().unwrap();
        check_version(name, AsOf::Latest, table).await;
        for travel in table["time_travel"].as_array().into_iter().flatten() {
            let mut travel = travel.clone();
            if travel["expect"].is_null() {
                travel["expect"] = table["expect"].clone();
            }
            check_version(name, AsOf::Version(travel["version"].as_i64().unwrap()), &travel).await;
        }
        for pruning in table["pruning"].as_array().into_iter().flatten() {
            let snapshot = open(name, AsOf::Latest).await.unwrap();
            let filter = pruning["where"].as_str().unwrap();
            let list = list(&snapshot, filter).await.unwrap();
            let most = pruning["files_read_at_most"].as_u64().unwrap();
            assert!(list.pruned.files_read <= most, "{name} {filter}: {:?}", list.pruned);
            assert_eq!(
                list.pruned.files_total,
                pruning["files"].as_u64().unwrap(),
                "{name} {filter}"
            );
        }
    }
}

/// A table of three versions, one file each, whose log is then changed -> what the error says.
async fn check_damage(damage: impl Fn(&Table), expect: &str) {
    let table = Table::new();
    table.commit(0, &created(&[field("x", "long", json!({}))], &[], json!({}), &[]));
    for version in 1..=3 {
        table.commit(version, &[add(&format!("f{version}"), json!({}), Value::Null)]);
    }
    damage(&table);
    let error = match table.latest().await {
        Ok(snapshot) => list(&snapshot, "").await.map(|_| ()).unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains(expect), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_logs_are_reported() {
    let gone = |name: &'static str| move |table: &Table| std::fs::remove_file(table.log_file(name)).unwrap();
    check_damage(gone("00000000000000000002.json"), "2").await;
    check_damage(gone("00000000000000000000.json"), "").await;
    let garbage = |table: &Table| std::fs::write(table.log_file("00000000000000000002.json"), "{\"add\":").unwrap();
    check_damage(garbage, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_hint_and_log_compactions_change_nothing() {
    let table = Table::new();
    table.commit(0, &created(&[field("x", "long", json!({}))], &[], json!({}), &[]));
    for version in 1..=3 {
        table.commit(version, &[add(&format!("f{version}"), json!({}), Value::Null)]);
    }
    let compacted = [add("f1", json!({}), Value::Null), add("f2", json!({}), Value::Null)];
    let lines: Vec<String> = compacted.iter().map(Value::to_string).collect();
    let name = "00000000000000000001.00000000000000000002.compacted.json";
    std::fs::write(table.log_file(name), lines.join("\n")).unwrap();
    assert_eq!(table.files("").await.unwrap(), ["f1", "f2", "f3"]);
    std::fs::write(table.log_file("_last_checkpoint"), "{\"version\":7,\"size\":1}").unwrap();
    table.commit(4, &[add("f4", json!({}), Value::Null)]);
    assert_eq!(table.files("").await.unwrap(), ["f1", "f2", "f3", "f4"]);
}
