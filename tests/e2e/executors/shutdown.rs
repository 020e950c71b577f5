//! SIGTERM ends every role in good order, and SIGUSR1 takes it back where an executor still drains.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Client, Lake, rows};

/// Work for hours on every executor.
const LONG: &str = "SELECT count(*) FROM lake.s.t a JOIN lake.s.t b ON a.value * b.value <> -1";

#[tokio::test(flavor = "multi_thread")]
async fn on_sigterm() -> Result<()> {
    let lake = Lake::processes(1).start().await?;
    lake.client().await?.query("SELECT 1").await?;
    let (server, executors) = (lake.server, lake.executors);
    for process in std::iter::once(server).chain(executors) {
        let status = process.terminate().await?;
        ensure!(status.success(), "a role ended with {status} after SIGTERM");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_takes_a_drain_back() -> Result<()> {
    let lake = Lake::processes(2)
        .split_files()
        .executor("grace = \"60s\"")
        .start()
        .await?;
    let mut client = lake.client().await?;
    for sql in [
        "CREATE SCHEMA lake.s",
        "CREATE TABLE lake.s.t AS SELECT value FROM range(0, 1000000)",
    ] {
        client.query(sql).await.context(sql)?;
    }
    let mut busy = lake.client().await?;
    let info = busy.raw().execute(LONG.to_owned(), None).await?;
    let ticket = info.endpoint.into_iter().find_map(|endpoint| endpoint.ticket);
    let ticket = ticket.context("no ticket")?;
    let running = tokio::time::timeout(Duration::from_secs(4), async {
        let mut rows = busy.raw().do_get(ticket).await?;
        futures::TryStreamExt::try_next(&mut rows).await
    });
    let told = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        lake.executors[0].signal("TERM")?;
        executors(&mut client, "draining", 1).await?;
        lake.executors[0].signal("USR1")?;
        executors(&mut client, "ready", 2).await
    };
    let (running, told) = tokio::join!(running, told);
    told?;
    ensure!(!matches!(running, Ok(Err(_))), "the running query failed: {running:?}");
    let count = rows(&client.query("SELECT count(DISTINCT value) FROM lake.s.t").await?)?;
    ensure!(format!("{count:?}").contains("1000000"), "{count:?}");
    for process in lake.executors {
        let status = process.terminate().await?;
        ensure!(status.success(), "an executor ended with {status} after SIGTERM");
    }
    Ok(())
}

/// Waits until so many executors are in that state.
async fn executors(client: &mut Client, state: &str, count: usize) -> Result<()> {
    let began = Instant::now();
    let sql = format!("SELECT address FROM system.executors WHERE state = '{state}'");
    loop {
        let shown = rows(&client.query(&sql).await?)?;
        if shown.len() == count {
            return Ok(());
        }
        ensure!(
            began.elapsed() < Duration::from_secs(10),
            "{state} are {shown:?}, not {count}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
