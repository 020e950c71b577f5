//! Executors end when they are told to: running queries first, within the grace period.

use std::time::{Duration, Instant};

use datafusion::prelude::SessionConfig;
use executor::{Error, ExecutorConfig, Mode};
use futures::{StreamExt, TryStreamExt};

use crate::support::{Process, config, engines, executor_config, listed, ours, run, session, start, tables};

const ENDLESS: &str = "SELECT a.id, b.amount FROM fact a JOIN fact b ON a.id + b.id >= 0";

#[tokio::test(flavor = "multi_thread")]
async fn a_running_query_ends_within_the_grace_period() {
    let folder = tables().await;
    let patient = ExecutorConfig {
        grace: Duration::from_secs(60),
        ..executor_config()
    };
    let processes = [Process::start(patient.clone()), Process::start(patient)];
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;

    let mut rows = start(&there, &session, "SELECT id, at FROM fact WHERE id >= 0")
        .await
        .unwrap();
    let first = rows.next().await.unwrap().unwrap().num_rows();
    processes.iter().for_each(Process::stop);
    let error = run(&there, &session, "SELECT grp, count(*) AS n FROM fact GROUP BY grp")
        .await
        .unwrap_err();
    assert!(matches!(ours(&error), Error::Draining { .. }), "{error}");
    let rest = rows
        .try_fold(0, |sum, batch| async move { Ok(sum + batch.num_rows()) })
        .await
        .unwrap();
    assert_eq!(first + rest, 120_000);
    for process in &processes {
        assert!(process.has_ended(Duration::from_secs(5)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_that_is_taken_back_ends_nothing() {
    let folder = tables().await;
    let patient = ExecutorConfig {
        grace: Duration::from_secs(60),
        ..executor_config()
    };
    let processes = [Process::start(patient.clone()), Process::start(patient)];
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let ask = || run(&there, &session, "SELECT grp, count(*) AS n FROM fact GROUP BY grp");

    let mut rows = start(&there, &session, ENDLESS).await.unwrap();
    rows.next().await.unwrap().unwrap();
    processes.iter().for_each(Process::stop);
    let error = ask().await.unwrap_err();
    assert!(matches!(ours(&error), Error::Draining { .. }), "{error}");
    processes.iter().for_each(Process::go_on);
    let (began, mut answer) = (Instant::now(), ask().await);
    while answer.is_err() && began.elapsed() < Duration::from_secs(5) {
        answer = ask().await;
    }
    assert!(!answer.unwrap().is_empty());
    // The query that ran meanwhile was not disturbed.
    rows.next().await.unwrap().unwrap();
    drop(rows);
    processes.iter().for_each(Process::stop);
    for process in &processes {
        assert!(process.has_ended(Duration::from_secs(5)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_grace_period_a_query_is_cut() {
    let folder = tables().await;
    let processes = [Process::start(executor_config()), Process::start(executor_config())];
    let there = engines(&config(listed(&processes))).await;
    let session = session(&there, SessionConfig::new(), &folder).await;

    let mut rows = start(&there, &session, ENDLESS).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let began = Instant::now();
    processes.iter().for_each(Process::stop);
    let error = loop {
        if let Err(error) = rows.next().await.unwrap() {
            break error;
        }
    };
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    ours(&error);
    for process in &processes {
        assert!(process.has_ended(Duration::from_secs(5)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn executors_inside_this_process_end_with_the_engines() {
    let folder = tables().await;
    let there = engines(&config(Mode::InProcess { count: 2 })).await;
    let session = session(&there, SessionConfig::new(), &folder).await;
    let mut rows = start(&there, &session, ENDLESS).await.unwrap();
    rows.next().await.unwrap().unwrap();
    tokio::time::timeout(Duration::from_secs(10), there.shutdown())
        .await
        .unwrap();
    assert!(
        rows.any(|batch| std::future::ready(batch.is_err())).await,
        "the query is cut"
    );
    let error = run(&there, &session, "SELECT count(*) AS n FROM fact GROUP BY grp")
        .await
        .unwrap_err();
    ours(&error);
}
