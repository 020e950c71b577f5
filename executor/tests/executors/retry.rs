//! Queries that survive their executors, and those that must not.

use std::time::{Duration, Instant};

use datafusion::prelude::SessionConfig;
use executor::{Engines, Error, ExecutorConfig, Mode};
use futures::TryStreamExt;
use proto::ErrorKind;

use crate::support::{Process, config, engines, executor_config, listed, ours, run, session, start, tables, text};

/// Some seconds of work before the first row.
const LONG: &str = "SELECT a.grp, count(*) AS n, sum(a.id + b.id) AS s FROM fact a \
                    JOIN (SELECT id FROM single WHERE id < 4000) b ON a.id + b.id >= 0 GROUP BY a.grp ORDER BY a.grp";
/// Hours of work before the first row.
const ENDLESS: &str = "SELECT count(*) AS n FROM fact a JOIN fact b ON a.id + b.id <> -1";

fn processes(count: usize) -> Vec<Process> {
    (0..count).map(|_| Process::start(executor_config())).collect()
}

async fn local(folder: &tempfile::TempDir, sql: &str) -> String {
    let here = engines(&config(Mode::Embedded)).await;
    let session = session(&here, SessionConfig::new(), folder).await;
    text(&here, &session, sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_lost_before_the_first_row_is_not_noticed() {
    let folder = tables().await;
    let mut processes = processes(3);
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let expected = local(&folder, LONG).await;
    let began = Instant::now();
    let running = text(&there, &session, LONG);
    let killing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        processes[1].kill();
    };
    let (rows, ()) = tokio::join!(running, killing);
    assert!(began.elapsed() > Duration::from_millis(300), "too short to be hit");
    assert_eq!(rows, expected);
    // The dead one is left out from the beginning.
    assert_eq!(text(&there, &session, LONG).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_was_started_again_works_again() {
    let folder = tables().await;
    let mut processes = processes(1);
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let sql = "SELECT grp, count(*) AS n FROM fact GROUP BY grp ORDER BY grp LIMIT 1";
    assert!(text(&there, &session, sql).await.contains("1200"));
    let address = processes[0].address.socket_addrs(|| None).unwrap()[0];
    for _ in 0..3 {
        processes[0].kill();
        let again = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let same_place = ExecutorConfig {
                listen: address,
                ..executor_config()
            };
            tokio::task::spawn_blocking(move || Process::start(same_place))
                .await
                .unwrap()
        };
        // The query waits for it.
        let (rows, process) = tokio::join!(text(&there, &session, sql), again);
        assert!(rows.contains("1200"), "{rows}");
        processes[0] = process;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_loses_one_executor_after_another_is_given_up() {
    let folder = tables().await;
    let mut processes = processes(5);
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let killing = async {
        for process in processes.iter_mut().take(4) {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            process.kill();
        }
    };
    let (failed, ()) = tokio::join!(run(&there, &session, ENDLESS), killing);
    let failed = failed.unwrap_err();
    let Error::GivenUp { lost } = ours(&failed) else {
        panic!("{failed}")
    };
    assert_eq!(lost.len(), 3);
    assert_eq!(ours(&failed).kind(), ErrorKind::Unavailable);
    assert!(
        text(&there, &session, "SELECT count(*) AS n FROM fact GROUP BY grp LIMIT 1")
            .await
            .contains("1200")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_the_query_is_not_tried_again() {
    let folder = tables().await;
    let processes = processes(2);
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    // The text alone makes no error about an executor.
    let sql =
        "SELECT grp, sum(arrow_cast('executor http://a:1 is unreachable: no' || at, 'Int64')) FROM fact GROUP BY grp";
    let error = run(&there, &session, sql).await.unwrap_err();
    assert!(error.to_string().contains("cast"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_query_hears_of_executors_that_end_one_after_another() {
    let folder = tables().await;
    let patient = || ExecutorConfig {
        grace: Duration::from_secs(60),
        ..executor_config()
    };
    let mut processes: Vec<Process> = (0..3).map(|_| Process::start(patient())).collect();
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let expected = local(&folder, LONG).await;
    let load = async |there: &Engines| {
        let mut runs = 0;
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(6) {
            assert_eq!(text(there, &session, LONG).await, expected);
            runs += 1;
        }
        runs
    };
    let rolling = async {
        for process in &mut processes {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let listen = process.address.socket_addrs(|| None).unwrap()[0];
            process.stop();
            let ended = tokio::task::block_in_place(|| process.has_ended(Duration::from_secs(30)));
            assert!(ended, "an executor with queries does not end");
            *process = Process::start(ExecutorConfig { listen, ..patient() });
        }
    };
    let (one, two, ()) = tokio::join!(load(&there), load(&there), rolling);
    assert!(one + two >= 2, "{one} and {two} queries");
}

/// The library forgets a task that nobody asked for within ten minutes. With the variable LAKEWING_LONG_TESTS, the first
/// input of the join takes eleven.
#[tokio::test(flavor = "multi_thread")]
async fn a_join_may_build_longer_than_an_executor_remembers_its_other_input() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 2 })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    #[allow(clippy::disallowed_methods, reason = "a switch of this test")]
    let long = std::env::var("LAKEWING_LONG_TESTS").is_ok();
    let build = Duration::from_secs(if long { 11 * 60 } else { 1 });
    session.register_table("slow", crate::support::slow(build)).unwrap();
    let sql = "SELECT slow.one, f.grp, f.n FROM slow CROSS JOIN \
               (SELECT grp, count(*) AS n FROM fact GROUP BY grp ORDER BY grp LIMIT 3) f ORDER BY f.grp";
    let began = Instant::now();
    let rows = start(&there, &session, sql).await.unwrap();
    let rows: Vec<_> = rows.try_collect().await.unwrap();
    assert!(began.elapsed() >= build);
    assert_eq!(rows.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
}
