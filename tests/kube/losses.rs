//! Pods that go while queries run on them: deleted, evicted from a node that is taken away, killed for their memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use harness::{Cell, Cluster, Lake, Node, Release, rows, same_rows};
use k8s_openapi::api::core::v1::Pod;
use kube::api::DeleteParams;

use crate::support::{QUERY, QUICK, data, expected, ready, server, until, until_ready, until_told};

/// Two executors that are always there.
async fn two(cluster: &Cluster, name: &str, data: &std::path::Path) -> Result<(Release, Lake)> {
    let release = cluster.release(name).await?;
    let sets = format!("[[executor.sets]]\nmin = 2\nmax = 2\n{QUICK}");
    let lake = server(&release, &sets, data).await?;
    until_ready(&mut lake.client().await?, 2).await?;
    Ok((release, lake))
}

/// Four clients that ask while `breaking` happens; all their answers are right.
async fn asked_during(lake: &Lake, expected: &[Vec<Cell>], breaking: impl Future<Output = Result<()>>) -> Result<()> {
    let mut clients = try_join_all((0..4).map(|_| lake.client())).await?;
    let asking = try_join_all(clients.iter_mut().map(async |client| {
        for _ in 0..8 {
            same_rows("a query", expected, &rows(&client.query(QUERY).await?)?, true)?;
        }
        Ok(())
    }));
    let breaking = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        breaking.await
    };
    tokio::try_join!(asking, breaking).map(drop)
}

/// Waits until another one has replaced `gone`.
async fn replaced(lake: &Lake, gone: &str) -> Result<()> {
    let mut client = lake.client().await?;
    until(&mut client, "it is replaced", |all| {
        let ready = all.iter().filter(|one| one.state == "ready").count();
        ready == 2 && all.iter().all(|one| one.name != gone)
    })
    .await
    .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_are_deleted_or_killed_are_replaced() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let node = Node::start(&cluster.admin, "one", 100).await?;

    let (release, lake) = two(&cluster, "deleted", data.path()).await?;
    let victim = ready(&mut lake.client().await?)
        .await?
        .pop_first()
        .context("no executor")?;
    asked_during(&lake, &expected, async {
        release.api::<Pod>().delete(&victim, &DeleteParams::default()).await?;
        Ok(())
    })
    .await?;
    replaced(&lake, &victim).await?;

    let victim = ready(&mut lake.client().await?)
        .await?
        .pop_first()
        .context("no executor")?;
    asked_during(&lake, &expected, node.kill_for_memory(&victim)).await?;
    replaced(&lake, &victim).await?;
    let why = format!("pod {victim} was killed: it used more memory than its limit");
    ensure!(lake.server.output().contains(&why), "the log does not say: {why}");
    until_told(&release, "Failed", &[&why]).await?;
    let left = release.api::<Pod>().get_opt(&victim).await?;
    ensure!(left.is_none(), "the pod that was killed is left over");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_drained_is_left() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let (one, two_nodes) = (
        Node::start(&cluster.admin, "one", 1).await?,
        Node::start(&cluster.admin, "two", 1).await?,
    );
    let (release, lake) = two(&cluster, "tainted", data.path()).await?;
    let pods = release.pods().await?;
    let on = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(&*one.name);
    let victim = pods.iter().find(on).and_then(|pod| pod.metadata.name.clone());
    let victim = victim.context("no pod on the first node")?;
    let _three = Node::start(&cluster.admin, "three", 1).await?;
    asked_during(&lake, &expected, async {
        one.taint("test/going", "NoSchedule").await?;
        release.evict(&victim).await
    })
    .await?;
    replaced(&lake, &victim).await?;
    let printed = lake.server.output();
    let why = format!("pod {victim} is taken away: ");
    ensure!(printed.contains(&why), "the log does not say: {why}");
    drop(two_nodes);
    Ok(())
}
