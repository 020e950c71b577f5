//! Queries that do not fit into memory end: with rows or with an error, never without end.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::error::DataFusionError;
use datafusion::prelude::{SessionConfig, SessionContext};
use executor::{Config, Limits, Mode};
use futures::TryStreamExt;

use crate::support::{NoTypes, config, engines, run, session, tables};

/// Two input tasks of one shuffle spill at once into the same output: apache/datafusion#24883. With files of the
/// default size the first attempt hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn spilling_shuffles_do_not_wait_for_each_other() {
    let tight = Config {
        memory_bytes_max: Some(4 << 20),
        query_memory_bytes_max: Some(4 << 20),
        ..config(Mode::Embedded)
    };
    let mut answered = 0;
    for attempt in 0..12 {
        let engines = engines(&tight).await;
        let small = SessionConfig::new().with_batch_size(64);
        let state = engines
            .session_state(small, Arc::new(MemoryCatalogProviderList::new()), Arc::new(NoTypes))
            .unwrap();
        let session = SessionContext::new_with_state(state);
        session.sql(SPANS).await.unwrap().collect().await.unwrap();
        let result = tokio::time::timeout(Duration::from_secs(20), run(&engines, &session, DISTINCT)).await;
        match result.unwrap_or_else(|_| panic!("attempt {attempt} hangs")) {
            Ok(batches) => {
                assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 13);
                answered += 1;
            }
            Err(error) => assert!(
                matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)),
                "{error}"
            ),
        }
    }
    assert!(answered > 6, "only {answered} attempts had enough memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn shuffles_between_executors_that_spill_end() {
    let folder = tables().await;
    let tight = Config {
        memory_bytes_max: Some(12 << 20),
        query_memory_bytes_max: Some(12 << 20),
        ..config(Mode::InProcess { count: 3 })
    };
    let engines = engines(&tight).await;
    let session = session(&engines, SessionConfig::new().with_batch_size(64), &folder).await;
    for attempt in 0..3 {
        let sql = "SELECT grp, count(DISTINCT arrow_cast(id, 'Utf8View') || at) AS n FROM fact GROUP BY grp";
        let result = tokio::time::timeout(Duration::from_secs(20), run(&engines, &session, sql)).await;
        let groups = result.unwrap_or_else(|_| panic!("attempt {attempt} hangs"));
        match groups {
            Ok(batches) => {
                assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 100);
            }
            Err(error) => assert!(
                matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)),
                "{error}"
            ),
        }
    }
}

/// The hash join is given up, and a merge join takes its place, whose sorts spill.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_join_larger_than_its_memory_is_merged() {
    let folder = tables().await;
    let sql = "WITH many AS (SELECT id * 8 + value AS id, amount FROM fact, range(0, 8)) \
               SELECT count(*) AS n, sum(a.id) AS s, sum(b.amount) AS amount, max(b.id) AS most FROM many a JOIN many b USING (id)";
    let whole = engines(&config(Mode::Embedded)).await;
    let whole_session = session(&whole, SessionConfig::new(), &folder).await;
    let expected = run(&whole, &whole_session, sql).await.unwrap();
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let engines = engines(&config(mode.clone())).await;
        let session = session(&engines, SessionConfig::new(), &folder).await;
        let state = session.state();
        let plan = state.create_logical_plan(sql).await.unwrap();
        let limits = Limits {
            memory_bytes_max: Some(24 << 20),
            ..Limits::default()
        };
        let running = engines.execute_within(&state, plan, limits).await.unwrap();
        let answer: Vec<RecordBatch> = running
            .stream
            .try_collect()
            .await
            .unwrap_or_else(|error| panic!("{mode:?}: {error}"));
        assert_eq!(format!("{answer:?}"), format!("{expected:?}"), "{mode:?}");
    }
}

/// It is not read in parts: it fails for memory, on executors too, and says what helps.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_join_without_a_key_larger_than_its_memory_fails() {
    let folder = tables().await;
    let wide = "(SELECT id, at || repeat('x', 3000) AS at FROM fact WHERE id % 12 = 0)";
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let engines = engines(&config(mode.clone())).await;
        let session = session(&engines, SessionConfig::new(), &folder).await;
        for kind in ["JOIN", "LEFT JOIN", "RIGHT JOIN"] {
            let sql = format!(
                "SELECT count(*) AS n, max(a.at) AS most, min(b.at) AS least \
                 FROM {wide} a {kind} {wide} b ON a.id < b.id - 110000 AND length(a.at) <= length(b.at)"
            );
            let state = session.state();
            let plan = state.create_logical_plan(&sql).await.unwrap();
            let limits = Limits {
                memory_bytes_max: Some(16 << 20),
                ..Limits::default()
            };
            let running = engines.execute_within(&state, plan, limits).await.unwrap();
            let error = running.stream.try_collect::<Vec<_>>().await.unwrap_err();
            let exhausted = matches!(error.find_root(), DataFusionError::ResourcesExhausted(_));
            assert!(
                exhausted || error.to_string().contains("of memory"),
                "{kind}, {mode:?}: {error}"
            );
            assert!(
                error.to_string().contains("give the join a key"),
                "{kind}, {mode:?}: {error}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_query_over_its_budget_fails_alone() {
    let folder = tables().await;
    let engines = engines(&config(Mode::InProcess { count: 2 })).await;
    let session = session(&engines, SessionConfig::new(), &folder).await;
    // Its build side is larger, and so are the two sides of a merge join with merges of 10 MB.
    let sql = "SELECT max(a.id + b.id) FROM fact a JOIN fact b ON a.at || a.id = b.at || b.id";
    let state = session.state();
    let plan = state.create_logical_plan(sql).await.unwrap();
    let limits = Limits {
        memory_bytes_max: Some(1 << 20),
        ..Limits::default()
    };
    let failing = async {
        let rows = engines.execute_within(&state, plan, limits).await.unwrap().stream;
        rows.try_collect::<Vec<_>>().await.unwrap_err()
    };
    let count = "SELECT count(*) AS n, sum(grp) AS s FROM fact";
    let (error, beside) = tokio::join!(failing, run(&engines, &session, count));
    assert!(
        error.to_string().contains("of the 1024.0 KB of memory it may"),
        "{error}"
    );
    assert_eq!(beside.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_would_read_too_much_does_not_begin() {
    let folder = tables().await;
    for mode in [Mode::Embedded, Mode::InProcess { count: 2 }] {
        let engines = engines(&config(mode)).await;
        let session = session(&engines, SessionConfig::new(), &folder).await;
        let state = session.state();
        let limited = async |sql: &str| {
            let plan = state.create_logical_plan(sql).await.unwrap();
            let limits = Limits {
                scan_bytes_max: Some(1000),
                ..Limits::default()
            };
            engines.execute_within(&state, plan, limits).await
        };
        let error = limited("SELECT sum(id) FROM fact WHERE grp > 3").await.err().unwrap();
        assert!(
            matches!(error, executor::Error::ScanTooLarge { bytes, .. } if bytes > 100_000),
            "{error}"
        );
        assert!(limited("SELECT 1").await.is_ok());
    }
}

/// 40,000 rows, of which most have a long text in common with others.
const SPANS: &str = "CREATE TABLE spans AS SELECT v % 13 AS g, \
                     CASE WHEN v % 29 = 0 THEN NULL ELSE md5(CAST(v % 337 AS VARCHAR)) END AS trace_id \
                     FROM generate_series(1, 40000) AS t(v)";
/// Views count the memory of all the text they share.
const DISTINCT: &str = "SELECT g, count(DISTINCT trace_id) AS n \
                        FROM (SELECT g, arrow_cast(trace_id, 'Utf8View') AS trace_id FROM spans) GROUP BY g";
