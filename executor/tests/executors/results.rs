//! Executors give the rows that one process gives, under the session's own settings.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::prelude::SessionConfig;
use executor::{AdaptiveTasks, Mode};

use crate::support::{Process, config, engines, executor_config, listed, run, session, tables, text};

const JOIN: &str = "SELECT name, count(*) AS n, sum(amount) AS total, min(at) AS first \
                    FROM fact JOIN dimension USING (grp) WHERE id % 3 = 0 GROUP BY name ORDER BY name";

/// Statements give equal rows with and without executors; `distributed` says whether they need to leave the process.
async fn check(mode: Mode, partitions: usize, settings: &[(&str, &str)], statements: &[&str], distributed: bool) {
    let folder = tables().await;
    let mut configured = SessionConfig::new();
    for (key, value) in settings {
        configured = configured.set_str(key, value);
    }
    let mut there = config(mode);
    there.target_partitions = Some(partitions);
    let (there, here) = (engines(&there).await, engines(&config(Mode::Embedded)).await);
    let (remote, local) = (
        session(&there, configured.clone(), &folder).await,
        session(&here, configured, &folder).await,
    );
    for sql in statements {
        assert_eq!(
            text(&there, &remote, sql).await,
            text(&here, &local, sql).await,
            "{sql}"
        );
        let plan = text(&there, &remote, &format!("EXPLAIN ANALYZE {sql}")).await;
        assert_eq!(plan.contains("DistributedExec"), distributed, "{sql}\n{plan}");
    }
    there.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_and_an_aggregate_in_process() {
    let distinct = "SELECT grp, count(DISTINCT id) AS n FROM fact GROUP BY grp ORDER BY n DESC, grp LIMIT 7";
    check(Mode::InProcess { count: 3 }, 2, &[], &[JOIN, distinct], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shuffled_join_over_listed_executors() {
    let processes = [Process::start(executor_config()), Process::start(executor_config())];
    let shuffled = [
        ("datafusion.optimizer.hash_join_single_partition_threshold", "0"),
        ("datafusion.optimizer.hash_join_single_partition_threshold_rows", "0"),
    ];
    check(listed(&processes), 2, &shuffled, &[JOIN], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_that_are_counted_while_the_query_runs() {
    let folder = tables().await;
    let (there, here) = (
        engines(&config(Mode::InProcess { count: 3 })).await,
        engines(&config(Mode::Embedded)).await,
    );
    let adaptive = SessionConfig::new().with_extension(Arc::new(AdaptiveTasks));
    let remote = session(&there, adaptive, &folder).await;
    let local = session(&here, SessionConfig::new(), &folder).await;
    let nothing = "SELECT grp, count(*) AS n FROM fact WHERE amount < id GROUP BY grp ORDER BY grp";
    let many = "SELECT a.grp % 5 AS k, count(*) AS n, min(b.id) AS low FROM fact a JOIN fact b ON a.grp % 10 = b.grp % 10 \
                WHERE a.id < 500 GROUP BY k ORDER BY k";
    for sql in [JOIN, nothing, many] {
        assert_eq!(
            text(&there, &remote, sql).await,
            text(&here, &local, sql).await,
            "{sql}"
        );
        let plan = text(&there, &remote, &format!("EXPLAIN ANALYZE {sql}")).await;
        assert!(plan.contains("SamplerExec"), "{sql}\n{plan}");
    }
    there.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_plan_stays_here() {
    let nobody = Mode::Static {
        addresses: vec!["http://127.0.0.1:9".parse().unwrap()],
    };
    check(nobody, 2, &[], &["SELECT 1 + 1", "VALUES (1), (2)"], false).await;
}

/// Statements over a leaf of one partition, which DataFusion plans in one step; some of them beside a broadcast.
const SINGLE: [&str; 7] = [
    "SELECT count(*) AS n, sum(id) AS total FROM single",
    "SELECT id FROM single WHERE grp = 3 ORDER BY id DESC LIMIT 5",
    "SELECT count(*) AS n FROM (SELECT id FROM single LIMIT 10)",
    "SELECT name, n FROM dimension JOIN (SELECT grp, count(*) AS n FROM single GROUP BY grp) s USING (grp) ORDER BY 1",
    "SELECT count(*) AS n, sum(s.n) AS total FROM fact \
     JOIN (SELECT grp, count(*) AS n FROM single GROUP BY grp) s USING (grp)",
    "SELECT count(*) AS n FROM fact JOIN (SELECT id FROM single ORDER BY grp, id DESC LIMIT 10) s USING (id)",
    "SELECT count(*) AS n FROM fact JOIN (SELECT DISTINCT grp AS id FROM single LIMIT 5) s USING (id)",
];

#[tokio::test(flavor = "multi_thread")]
async fn leaves_of_one_partition_because_tasks_have_one() {
    check(Mode::InProcess { count: 3 }, 1, &[], &SINGLE, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaves_of_one_partition_because_files_stay_whole() {
    let settings = [("datafusion.optimizer.repartition_file_scans", "false")];
    check(Mode::InProcess { count: 3 }, 2, &settings, &SINGLE[..3], false).await;
    check(Mode::InProcess { count: 3 }, 2, &settings, &SINGLE[3..], true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_reach_the_executors() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 2 })).await;
    let configured = SessionConfig::new()
        .set_str("datafusion.execution.time_zone", "+05:45")
        .set_str("datafusion.execution.batch_size", "1234");
    let session = session(&there, configured, &folder).await;

    let batches = run(&there, &session, "SELECT id, at FROM fact WHERE id >= 0")
        .await
        .unwrap();
    let rows: BTreeSet<usize> = batches.iter().map(|batch| batch.num_rows()).collect();
    assert_eq!(rows.last(), Some(&1234), "{rows:?}");
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 120_000);

    let zoned = "SELECT min(CAST(CAST(at AS TIMESTAMP) AS TIMESTAMP WITH TIME ZONE)) AS first, \
                 min(to_timestamp(at)) AS parsed FROM fact";
    let found = text(&there, &session, zoned).await;
    assert!(found.contains("2024-01-01T10:00:00+05:45"), "{found}");
    let plan = text(&there, &session, &format!("EXPLAIN ANALYZE {zoned}")).await;
    assert!(plan.contains("DistributedExec"), "{plan}");
}
