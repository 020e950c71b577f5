//! Pods that cannot be: who waits for them hears why, and they are not asked for all the time.

use std::time::Instant;

use anyhow::{Result, ensure};
use harness::{Cluster, Node, rows, same_rows};
use tonic::Code;

use crate::support::{QUERY, QUICK, data, executors, expected, server, until_pods, until_told};

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_quota_is_told_and_waited_for() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let release = cluster.release("quota").await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    release.quota(0).await?;
    let sets = format!("[[executor.sets]]\nmax = 2\nstart_timeout = \"12s\"\n{QUICK}");
    let lake = server(&release, &sets, data.path()).await?;
    let mut client = lake.client().await?;
    let began = Instant::now();
    let status = client.failure(QUERY).await?;
    ensure!(status.code() == Code::Unavailable, "{status}");
    let why = "no executor of set default is there: the quota of the namespace is exhausted";
    ensure!(status.message().contains(why), "{status}");
    ensure!(
        (12..24).contains(&began.elapsed().as_secs()),
        "it waited {:?}",
        began.elapsed()
    );
    let refused = lake.server.output().matches("a pod is not created").count();
    ensure!((1..=5).contains(&refused), "{refused} attempts in 12 s");
    until_told(&release, "FailedCreate", &["the quota of the namespace is exhausted"]).await?;

    release.quota(1).await?;
    same_rows("within the quota", &expected, &rows(&client.query(QUERY).await?)?, true)?;
    ensure!(release.pods().await?.len() == 1);
    until_pods(&release, 0).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_cannot_start_are_told_and_given_up() -> Result<()> {
    let data = data().await?;
    let cluster = Cluster::start().await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let folder = tempfile::tempdir()?;
    let elsewhere = folder.path().join("elsewhere.yaml");
    std::fs::write(
        &elsewhere,
        "metadata:\n  labels: {team: a}\nspec:\n  nodeSelector: {disk: none}\n",
    )?;
    let check = async |name: &str, pod: &str, why: &str| -> Result<()> {
        let release = cluster.release(name).await?;
        let sets = format!("[[executor.sets]]\nmax = 2\nstart_timeout = \"3s\"\n{QUICK}\npod = {{ {pod} }}");
        let lake = server(&release, &sets, data.path()).await?;
        let mut client = lake.client().await?;
        let status = client.failure(QUERY).await?;
        ensure!(status.code() == Code::Unavailable, "{status}");
        ensure!(status.message().contains(why), "{why}: {status}");
        // Nobody wants it any more.
        until_pods(&release, 0).await.map(drop)
    };
    check(
        "image",
        "image = \"gone:1\"",
        "cannot be pulled: Back-off pulling image \"gone:1\"",
    )
    .await?;
    let template = format!("template = {elsewhere:?}");
    check("node", &template, "finds no node: 0/1 nodes are available").await?;

    // Who is wanted all the time is given up and tried again later.
    let release = cluster.release("again").await?;
    let pod = format!("{template}, pending_timeout = \"2s\"");
    let sets = format!("[[executor.sets]]\nmin = 1\n{QUICK}\npod = {{ {pod} }}");
    let lake = server(&release, &sets, data.path()).await?;
    let mut client = lake.client().await?;
    let mut seen = std::collections::BTreeSet::new();
    let began = Instant::now();
    while began.elapsed().as_secs() < 12 {
        seen.extend(executors(&mut client).await?.into_iter().map(|one| one.name));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    ensure!((2..=4).contains(&seen.len()), "{} pods in 12 s", seen.len());
    ensure!(
        lake.server.output().contains("was given up after 2s"),
        "the log does not say so"
    );
    ensure!(release.pods().await?.len() <= 1);
    until_told(&release, "FailedStart", &["was given up after 2s"]).await?;
    Ok(())
}
