//! Older versions by number and by time.

use serde_json::{Value, json};

use crate::delta::fixture::{Table, add, created, field};
use crate::error::Error;
use crate::snapshot::AsOf;

/// Versions 0 to 3, a minute apart from 2020-09-13 12:26:40 UTC on.
fn table() -> Table {
    let table = Table::new();
    table.commit(0, &created(&[field("x", "long", json!({}))], &[], json!({}), &[]));
    for version in 1..=3 {
        table.commit(version, &[add(&format!("f{version}"), json!({}), Value::Null)]);
    }
    table
}

async fn check(table: &Table, as_of: AsOf, expect: Result<i64, &str>) {
    match (table.at(as_of.clone()).await, expect) {
        (Ok(snapshot), Ok(expect)) => {
            assert_eq!(snapshot.version(), expect, "{as_of:?}");
            let list = crate::delta::fixture::list(&snapshot, "").await.unwrap();
            assert_eq!(list.sets[0].files.len() as i64, expect, "{as_of:?}");
        }
        (Err(error), Err(expect)) => {
            assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
            let text = format!("{error}: {}", error.hint().unwrap_or_default());
            assert!(text.contains(expect), "{text}");
        }
        (found, _) => panic!("{as_of:?}: {found:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_found_by_number() {
    let table = table();
    check(&table, AsOf::Version(0), Ok(0)).await;
    check(&table, AsOf::Version(2), Ok(2)).await;
    check(&table, AsOf::Version(3), Ok(3)).await;
    check(&table, AsOf::Version(4), Err("versions 0 to 3")).await;
    check(&table, AsOf::Version(-1), Err("versions 0 to 3")).await;
    let branch = table.at(AsOf::Ref("main".to_owned())).await;
    assert!(matches!(branch, Err(Error::Unsupported { .. })));
}

const START: i64 = 1_600_000_000_000_000;
const MINUTE: i64 = 60_000_000;

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_found_by_time() {
    let table = table();
    check(&table, AsOf::Timestamp(START), Ok(0)).await;
    check(&table, AsOf::Timestamp(START + MINUTE - 1), Ok(0)).await;
    check(&table, AsOf::Timestamp(START + MINUTE), Ok(1)).await;
    check(&table, AsOf::Timestamp(START + 3 * MINUTE), Ok(3)).await;
    check(&table, AsOf::Timestamp(START + 9 * MINUTE), Ok(3)).await;
    check(&table, AsOf::Timestamp(START - 1), Err("2020-09-13 12:26:40.000 UTC")).await;
    check(&table, AsOf::Timestamp(i64::MIN), Err("2020-09-13")).await;
    // A clock that went back: version 2 counts as a millisecond after version 1.
    table.set_time(&table.log_file("00000000000000000002.json"), 1_600_000_000_000);
    check(&table, AsOf::Timestamp(START + MINUTE), Ok(1)).await;
    check(&table, AsOf::Timestamp(START + MINUTE + 1000), Ok(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_commit_timestamps_count_before_those_of_files() {
    let table = Table::new();
    let configuration = json!({"delta.enableInCommitTimestamps": "true"});
    let commit = |millis: i64| json!({"commitInfo": {"inCommitTimestamp": millis, "operation": "WRITE"}});
    let mut actions = created(&[field("x", "long", json!({}))], &[], configuration, &[]);
    actions[0] = json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 7,
                                     "writerFeatures": ["inCommitTimestamp"]}});
    actions.insert(0, commit(1_000));
    table.commit(0, &actions);
    for version in 1..=2_i64 {
        let file = add(&format!("f{version}"), json!({}), Value::Null);
        table.commit(version as u64, &[commit(1_000 + version * 1_000), file]);
    }
    check(&table, AsOf::Timestamp(1_999_999), Ok(0)).await;
    check(&table, AsOf::Timestamp(2_000_000), Ok(1)).await;
    check(&table, AsOf::Timestamp(START), Ok(2)).await;
    check(&table, AsOf::Timestamp(999_999), Err("1970-01-01 00:00:01.000 UTC")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_was_cut_has_no_old_versions() {
    let table = table();
    let log = crate::delta::log::Log::new(table.cache.stores(), "t", &table.location()).unwrap();
    let (url, engine) = (log.root_url.clone(), log.engine());
    let checkpoint = move || {
        let kernel = delta_kernel::Snapshot::builder_for(url.as_str())
            .at_version(2)
            .build(&engine)?;
        kernel.checkpoint(&engine, None).map(|_| ())
    };
    log.blocking(checkpoint).await.unwrap();
    for version in 0..=1 {
        std::fs::remove_file(table.log_file(&format!("{version:020}.json"))).unwrap();
    }
    check(&table, AsOf::Version(3), Ok(3)).await;
    check(&table, AsOf::Version(2), Ok(2)).await;
    check(&table, AsOf::Version(1), Err("versions 2 to 3")).await;
    check(&table, AsOf::Timestamp(START), Err("oldest version")).await;
}
