//! What a look at a log costs, and that it is never stale.

use serde_json::{Value, json};

use super::*;
use crate::delta::fixture::{Table, add, created, field, names, remove, stats};
use crate::delta::read::DeltaSnapshot;

fn columns(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| field(name, "long", json!({}))).collect()
}

fn file(name: &str) -> Value {
    add(name, json!({}), stats(1, json!(1), json!(2), 0))
}

/// A table of the file `a`.
fn table() -> Table {
    let table = Table::new();
    let mut actions = created(&columns(&["x"]), &[], json!({}), &["deletionVectors"]);
    actions.push(file("a"));
    table.commit(0, &actions);
    table
}

/// The files of the newest version, and the listings and reads that it took to find them.
async fn look(table: &Table) -> (Vec<String>, (usize, usize)) {
    table.requests.take();
    let files = table.files("x = 1").await.unwrap();
    (files, table.requests.take())
}

async fn check(table: &Table, expect: &[&str], reads: usize) {
    let (files, (_, found)) = look(table).await;
    assert_eq!(files, expect);
    assert_eq!(found, reads, "reads");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_table_costs_one_listing() {
    let table = table();
    look(&table).await;
    assert_eq!(look(&table).await, (vec!["a".to_owned()], (1, 0)));
    assert_eq!(look(&table).await, (vec!["a".to_owned()], (1, 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_commits_alone_are_read() {
    let table = table();
    look(&table).await;
    table.commit(1, &[file("b"), file("c")]);
    let (files, (_, reads)) = look(&table).await;
    assert_eq!(files, ["a", "b", "c"]);
    // Protocol and metadata, then the changed keys, then the added files: all of one commit.
    assert_eq!(reads, 3);
    table.commit(2, &[remove("a"), file("d")]);
    table.commit(3, &[remove("d"), file("e")]);
    assert_eq!(look(&table).await.0, ["b", "c", "e"]);
    // The same path again, and a file that is only touched.
    table.commit(4, &[file("a"), file("b")]);
    assert_eq!(look(&table).await.0, ["a", "b", "c", "e"]);
    check(&table, &["a", "b", "c", "e"], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_deletion_vector_is_seen() {
    let table = table();
    look(&table).await;
    let vector = |path: &str, cardinality: i64| {
        let mut added = file("a");
        added["add"]["deletionVector"] = json!({"storageType": "u", "pathOrInlineDv": path, "offset": 1,
                                                "sizeInBytes": 36, "cardinality": cardinality});
        added
    };
    let deleted = async || {
        let list = crate::delta::fixture::list(&table.latest().await.unwrap(), "")
            .await
            .unwrap();
        assert_eq!(names(&list), ["a"]);
        list.sets[0].files[0]
            .deletes
            .as_ref()
            .and_then(|deletes| deletes.cardinality())
    };
    assert_eq!(deleted().await, None);
    let (first, second) = (vector("vBn[lx{q8@P<9BNH/isA", 2), vector("abvBn[lx{q8@P<9BNH/isA", 3));
    table.commit(1, &[remove("a"), first.clone()]);
    assert_eq!(deleted().await, Some(2));
    let mut gone = remove("a");
    gone["remove"]["deletionVector"] = first["add"]["deletionVector"].clone();
    table.commit(2, &[gone, second]);
    assert_eq!(deleted().await, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_was_made_anew_is_read_anew() {
    let table = table();
    table.commit(1, &[file("b")]);
    assert_eq!(look(&table).await.0, ["a", "b"]);
    // The same number of commits, sizes and all, a while later.
    let mut actions = created(&columns(&["x"]), &[], json!({}), &["deletionVectors"]);
    actions.push(file("c"));
    for version in [0, 1] {
        std::fs::remove_file(table.log_file(&format!("{version:020}.json"))).unwrap();
    }
    table.commit(0, &actions);
    table.commit(1, &[file("d")]);
    table.set_time(&table.log_file("00000000000000000001.json"), 1_700_000_000_000);
    assert_eq!(look(&table).await.0, ["c", "d"]);
    // Fewer commits.
    std::fs::remove_file(table.log_file("00000000000000000001.json")).unwrap();
    std::fs::remove_file(table.log_file("00000000000000000000.json")).unwrap();
    table.commit(0, &actions);
    assert_eq!(look(&table).await.0, ["c"]);
    // No table at all.
    std::fs::remove_file(table.log_file("00000000000000000000.json")).unwrap();
    assert!(matches!(table.latest().await, Err(Error::NotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn new_columns_and_bounds_are_seen() {
    let table = table();
    look(&table).await;
    let mut actions = created(&columns(&["x", "y"]), &[], json!({}), &["deletionVectors"]);
    actions.remove(0);
    let stats = json!({"numRecords": 1, "minValues": {"y": 5}, "maxValues": {"y": 6}, "nullCount": {"y": 0}});
    actions.push(add("b", json!({}), stats));
    table.commit(1, &actions);
    assert_eq!(table.latest().await.unwrap().schema().fields().len(), 2);
    assert_eq!(table.files("y = 7").await.unwrap(), ["a"]);
    assert_eq!(table.files("y = 5").await.unwrap(), ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_keeps_its_files() {
    let table = table();
    let old: Arc<DeltaSnapshot> = table.latest().await.unwrap();
    table.commit(1, &[remove("a"), file("b")]);
    assert_eq!(table.files("").await.unwrap(), ["b"]);
    let list = crate::delta::fixture::list(&old, "").await.unwrap();
    assert_eq!(names(&list), ["a"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_and_gaps_between_looks_are_followed() {
    let table = table();
    look(&table).await;
    for version in 1..=3 {
        table.commit(version, &[file(&format!("f{version}"))]);
    }
    let log = Log::new(table.cache.stores(), "t", &table.location()).unwrap();
    let (url, engine) = (log.root_url.clone(), log.engine());
    let checkpoint = move || {
        let kernel = Snapshot::builder_for(url.as_str()).at_version(2).build(&engine)?;
        kernel.checkpoint(&engine, None).map(|_| ())
    };
    log.blocking(checkpoint).await.unwrap();
    assert_eq!(look(&table).await.0, ["a", "f1", "f2", "f3"]);
    // What was before the checkpoint is vacuumed; the cached version's own commit with it.
    for version in 0..=1 {
        std::fs::remove_file(table.log_file(&format!("{version:020}.json"))).unwrap();
    }
    table.commit(4, &[remove("f1")]);
    assert_eq!(look(&table).await.0, ["a", "f2", "f3"]);
    check(&table, &["a", "f2", "f3"], 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_without_its_commit_is_read_each_time() {
    let table = table();
    let log = Log::new(table.cache.stores(), "t", &table.location()).unwrap();
    let (url, engine) = (log.root_url.clone(), log.engine());
    let checkpoint = move || {
        let kernel = Snapshot::builder_for(url.as_str()).build(&engine)?;
        kernel.checkpoint(&engine, None).map(|_| ())
    };
    log.blocking(checkpoint).await.unwrap();
    std::fs::remove_file(table.log_file("00000000000000000000.json")).unwrap();
    for _ in 0..2 {
        let (files, (_, reads)) = look(&table).await;
        assert_eq!(files, ["a"]);
        assert!(reads > 0);
    }
}

/// Files of three partitions, with statistics in each.
fn partitioned() -> Table {
    let table = Table::new();
    let fields = [field("x", "long", json!({})), field("p", "integer", json!({}))];
    let mut actions = created(&fields, &["p"], json!({}), &["deletionVectors"]);
    for number in 0..30 {
        let partition = json!({"p": (number % 10).to_string()});
        let bounds = stats(1, json!(number), json!(number), 0);
        actions.push(add(&format!("f{number:02}"), partition, bounds));
    }
    table.commit(0, &actions);
    table
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_prune_whether_few_or_all_are_parsed() {
    // Few files of one partition, then all, then few again; a commit after each state.
    let table = partitioned();
    assert_eq!(table.files("p = 3 AND x > 5").await.unwrap(), ["f13", "f23"]);
    table.commit(
        1,
        &[
            add("g", json!({"p": "3"}), stats(1, json!(7), json!(9), 0)),
            remove("f13"),
        ],
    );
    assert_eq!(table.files("p = 3 AND x > 5").await.unwrap(), ["f23", "g"]);
    assert_eq!(
        table.files("x >= 28 OR x = 8").await.unwrap(),
        ["f08", "f28", "f29", "g"]
    );
    table.commit(
        2,
        &[
            add("h", json!({"p": "3"}), stats(1, json!(70), json!(90), 0)),
            remove("f28"),
        ],
    );
    assert_eq!(table.files("x >= 28").await.unwrap(), ["f29", "h"]);
    assert_eq!(table.files("p = 3 AND x < 10").await.unwrap(), ["f03", "g"]);
    // A file whose statistics are no statistics is read whatever is asked of its partition.
    table.commit(3, &[add("i", json!({"p": "4"}), json!("{not json"))]);
    assert_eq!(table.files("p = 4 AND x > 1000").await.unwrap(), ["i"]);
}
