//! The API server goes away and comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use futures::future::try_join_all;
use harness::{Cluster, Node, rows, same_rows};

use crate::support::{QUERY, QUICK, Shown, data, expected, names, ready, server, until, until_pods, until_ready};

const AWAY: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn queries_go_on_without_it_and_nothing_is_created_twice() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let mut cluster = Cluster::start().await?;
    let release = cluster.release("away").await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let sets = format!("[[executor.sets]]\nmin = 1\nmax = 3\n{QUICK}");
    let lake = server(&release, &sets, data.path()).await?;
    let mut observer = lake.client().await?;
    until_ready(&mut observer, 1).await?;
    let first = ready(&mut observer).await?;

    cluster.stop_api_server()?;
    let began = Instant::now();
    let over = AtomicBool::new(false);
    let mut clients = try_join_all((0..8).map(|_| lake.client())).await?;
    // They want more executors than there are, all the time.
    let asking = try_join_all(clients.iter_mut().map(async |client| {
        while !over.load(Ordering::Relaxed) {
            same_rows("a query", &expected, &rows(&client.query(QUERY).await?)?, true)?;
        }
        Ok(())
    }));
    let away = async {
        let mut told = false;
        while began.elapsed() < AWAY {
            let ready = ready(&mut observer).await?;
            ensure!(ready == first, "the executors changed: {first:?} to {ready:?}");
            told |= lake.server.output().contains("the API server cannot be reached");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        ensure!(told, "the log does not say that the API server is away");
        cluster.start_api_server().await?;
        // As many as may be, and each of them known.
        let grown = async {
            let pods = names(&until_pods(&release, 3).await?);
            let known = |all: &[Shown]| pods.iter().all(|pod| all.iter().any(|one| one.name == *pod));
            until(&mut observer, "every pod is known", known).await?;
            Ok(pods)
        };
        let grown = grown.await;
        over.store(true, Ordering::Relaxed);
        grown
    };
    let (_, pods) = tokio::try_join!(asking, away)?;
    ensure!(first.is_subset(&pods), "who worked before is gone");
    until_pods(&release, 1).await?;
    same_rows("after it", &expected, &rows(&observer.query(QUERY).await?)?, true)
}
