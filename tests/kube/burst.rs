//! From no pod to as many as may be, and back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use harness::{Client, Cluster, Node, rows, same_rows};
use k8s_openapi::api::coordination::v1::Lease;

use crate::support::{PATIENCE, QUERY, QUICK, data, expected, server, until_pods, until_told};

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_at_no_pod_doubles_them_and_idleness_ends_them() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let release = cluster.release("burst").await?;
    let lease: Lease = release.api().get("lakewing").await?;
    let lease = lease.metadata.uid.context("no uid")?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let sets = format!("[[executor.sets]]\nmax = 8\n{QUICK}\npod = {{ cpu = \"100m\", memory_bytes = 536870912 }}");
    let lake = server(&release, &sets, data.path()).await?;
    ensure!(
        release.pods().await?.is_empty(),
        "there are pods before there is a query"
    );
    let clients = try_join_all((0..30).map(|_| Client::connect(lake.address()))).await?;
    let asking = try_join_all(clients.into_iter().map(async |mut client| {
        let began = Instant::now();
        // Long enough for all rounds.
        while began.elapsed() < Duration::from_secs(6) {
            let answer = client.query(QUERY).await?;
            same_rows("a query of the burst", &expected, &rows(&answer)?, true)?;
        }
        Ok(())
    }));
    let watching = async {
        let (mut most, began) = (0, Instant::now());
        while most < 8 {
            let pods = release.pods().await?;
            most = most.max(pods.len());
            ensure!(most <= 8, "{most} pods, and 8 may be");
            ensure!(began.elapsed() < PATIENCE, "at most {most} pods");
            for pod in &pods {
                let owners = pod.metadata.owner_references.iter().flatten();
                let owners: Vec<_> = owners.map(|owner| (&*owner.kind, &*owner.name, &owner.uid)).collect();
                // With it the API server's collector removes them.
                ensure!(owners == [("Lease", "lakewing", &lease)], "{owners:?}");
                let container = &pod.spec.as_ref().context("no spec")?.containers[0];
                let resources = container.resources.as_ref().context("no resources")?;
                let memory = &resources.limits.as_ref().context("no limits")?["memory"];
                // With 384 MiB of overhead.
                ensure!(memory.0 == "939524096", "{memory:?}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    };
    tokio::try_join!(asking, watching)?;
    let printed = lake.server.output();
    for round in [
        "there=0 start=1",
        "there=1 start=2",
        "there=3 start=4",
        "there=7 start=1",
    ] {
        ensure!(printed.contains(round), "no round {round} in the log");
    }
    until_pods(&release, 0).await?;
    ensure!(
        lake.server.output().contains("nothing to do for 3s"),
        "the log does not say why"
    );
    until_told(&release, "LeaderElection", &["this server decides"]).await?;
    let rounds = [
        "has 0 executors, 1 are started",
        "has 1 executors, 2 are",
        "has 3 executors, 4 are",
    ];
    until_told(&release, "ScaledUp", &rounds).await?;
    until_told(
        &release,
        "ScaledDown",
        &["are asked to end: lakewing-default-", "nothing to do for 3s"],
    )
    .await
}
