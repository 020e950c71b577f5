//! Servers come and go, and several share one release: pods stay, and one server decides.

use anyhow::{Result, ensure};
use harness::{Cluster, Node, rows, same_rows};

use crate::support::{QUERY, QUICK, data, expected, names, ready, server, until, until_pods, until_ready};

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_adopts_what_runs() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let release = cluster.release("adopted").await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let sets = format!(
        "[[executor.sets]]\ninitial = 2\nmax = 2\n{}",
        QUICK.replace("\"3s\"", "\"20s\"")
    );
    let lake = server(&release, &sets, data.path()).await?;
    until_ready(&mut lake.client().await?, 2).await?;
    let before = names(&release.pods().await?);
    lake.server.kill()?;
    ensure!(names(&release.pods().await?) == before, "the pods went with the server");

    let lake = server(&release, &sets, data.path()).await?;
    let mut client = lake.client().await?;
    same_rows(
        "after the restart",
        &expected,
        &rows(&client.query(QUERY).await?)?,
        true,
    )?;
    until_ready(&mut client, 2).await?;
    ensure!(ready(&mut client).await? == before, "others than those that were there");
    ensure!(
        names(&release.pods().await?) == before,
        "pods were created though all were there"
    );
    ensure!(
        lake.server.output().contains("a pod is adopted"),
        "the log does not say so"
    );
    // Once the Lease of the dead one has run out, the new one ends them.
    until_pods(&release, 0).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_servers_decides_for_both() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let release = cluster.release("two").await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let sets = format!("[[executor.sets]]\nmax = 1\n{QUICK}");
    let first = server(&release, &sets, data.path()).await?;
    let decides = "this server decides how many executors there are";
    let mut deciding = first.client().await?;
    until(&mut deciding, "there is nobody", |all| {
        all.is_empty() && first.server.output().contains(decides)
    })
    .await?;
    let second = server(&release, &sets, data.path()).await?;
    let mut client = second.client().await?;
    // It has no say, and its query gets its executor.
    same_rows("from the second", &expected, &rows(&client.query(QUERY).await?)?, true)?;
    ensure!(!second.server.output().contains(decides), "both decide");
    ensure!(release.pods().await?.len() == 1);
    same_rows("from the first", &expected, &rows(&deciding.query(QUERY).await?)?, true)?;
    until_pods(&release, 0).await?;
    // The first gives the Lease back when it ends.
    first.server.terminate().await?;
    same_rows(
        "without the first",
        &expected,
        &rows(&client.query(QUERY).await?)?,
        true,
    )?;
    ensure!(second.server.output().contains(decides), "nobody decides");
    until_pods(&release, 0).await.map(drop)
}
