//! EXPLAIN ANALYZE tells what every operator did, and with VERBOSE in which task, so that it shows where one task has all
//! the work.

use datafusion::prelude::SessionConfig;

use crate::support::{Process, config, engines, executor_config, listed, session, tables, text};

/// All rows come from one file of four, which one task reads.
const SKEWED: &str = "SELECT grp, count(*) AS n FROM fact WHERE id < 50 GROUP BY grp";

/// The number of rows of each task, in a line such as `FilterExec: ..., metrics=[output_rows={0:7, 1:0}, ...]`.
fn rows_of_tasks(line: &str) -> Vec<usize> {
    let (_, tasks) = line.split_once("output_rows={").unwrap();
    let (tasks, _) = tasks.split_once('}').unwrap();
    let rows = tasks.split(", ").map(|task| task.split_once(':').unwrap().1.parse());
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_tell_what_they_did_in_every_task() {
    let folder = tables().await;
    let processes = [Process::start(executor_config()), Process::start(executor_config())];
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;

    let all = text(&there, &session, &format!("EXPLAIN ANALYZE {SKEWED}")).await;
    for operator in ["FilterExec", "mode=FinalPartitioned"] {
        let line = all.lines().find(|line| line.contains(operator)).unwrap();
        assert!(line.contains("output_rows=50, elapsed_compute="), "{all}");
    }
    for figure in [
        "Stage 2",
        "tasks=2",
        "bytes_transferred=",
        "network_latency_max=",
        "spilled_bytes=0.0 B",
        "bytes_scanned=",
    ] {
        assert!(all.contains(figure), "no {figure} in {all}");
    }

    let each = text(&there, &session, &format!("EXPLAIN ANALYZE VERBOSE {SKEWED}")).await;
    let (_, each) = each.split_once("Plan with Full Metrics").unwrap();
    let filter = each.lines().find(|line| line.contains("FilterExec")).unwrap();
    let mut rows = rows_of_tasks(filter);
    rows.sort_unstable();
    assert_eq!(rows, [0, 50], "{each}");
    let last = each
        .lines()
        .find(|line| line.contains("mode=FinalPartitioned"))
        .unwrap();
    assert_eq!(rows_of_tasks(last).iter().sum::<usize>(), 50, "{each}");
    for figure in ["elapsed_compute={0:", "spilled_bytes={0:", "bytes_transferred={0:"] {
        assert!(each.contains(figure), "no {figure} in {each}");
    }
}
