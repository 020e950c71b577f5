//! What these tests share.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{Cell, Client, Lake, LakeBuilder, Release, demo, rows};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::events::v1::Event;
use kube::api::ListParams;

pub(crate) const QUERY: &str = "SELECT l_returnflag, l_shipmode, sum(l_quantity), count(*), max(l_comment) \
                                FROM lineitem GROUP BY l_returnflag, l_shipmode ORDER BY 1, 2";
pub(crate) const QUICK: &str =
    "tasks_per_executor = 1\nround = \"300ms\"\ncool_down = \"500ms\"\nidle_timeout = \"3s\"";
/// Patience with what takes seconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// One row of `system.executors`.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) name: String,
    pub(crate) state: String,
    pub(crate) reason: String,
}

pub(crate) async fn executors(client: &mut Client) -> Result<Vec<Shown>> {
    let shown = client
        .query("SELECT name, state, reason FROM system.executors ORDER BY name")
        .await?;
    let text = |cell: &Cell| match cell {
        Cell::Text(text) => text.clone(),
        other => format!("{other:?}"),
    };
    let rows = rows(&shown)?.into_iter().map(|row| Shown {
        name: text(&row[0]),
        state: text(&row[1]),
        reason: text(&row[2]),
    });
    Ok(rows.collect())
}

/// The names of the executors that take tasks.
pub(crate) async fn ready(client: &mut Client) -> Result<BTreeSet<String>> {
    let all = executors(client).await?.into_iter();
    Ok(all.filter(|one| one.state == "ready").map(|one| one.name).collect())
}

/// Waits until the executors are as they should be.
pub(crate) async fn until(client: &mut Client, what: &str, check: impl Fn(&[Shown]) -> bool) -> Result<Vec<Shown>> {
    let began = Instant::now();
    loop {
        let there = executors(client).await?;
        if check(&there) {
            return Ok(there);
        }
        ensure!(began.elapsed() < PATIENCE, "never {what}: {there:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until so many take tasks.
pub(crate) async fn until_ready(client: &mut Client, count: usize) -> Result<()> {
    let is_ready = |one: &&Shown| one.state == "ready";
    let what = format!("{count} are ready");
    until(client, &what, |all| all.iter().filter(is_ready).count() == count)
        .await
        .map(drop)
}

/// Waits until the release has so many pods.
pub(crate) async fn until_pods(release: &Release, count: usize) -> Result<Vec<Pod>> {
    let began = Instant::now();
    loop {
        let pods = release.pods().await?;
        if pods.len() == count {
            return Ok(pods);
        }
        let there = names(&pods);
        ensure!(began.elapsed() < PATIENCE, "never {count} pods: {there:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn names(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
}

pub(crate) async fn data() -> Result<tempfile::TempDir> {
    let data = tempfile::tempdir()?;
    demo(0.01, &["--data-dir", &data.path().display().to_string()]).await?;
    Ok(data)
}

pub(crate) fn over(builder: LakeBuilder, data: &Path) -> LakeBuilder {
    builder
        .data(data)
        .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"")
}

/// A server of the release that answers nothing by itself.
pub(crate) async fn server(release: &Release, sets: &str, data: &Path) -> Result<Lake> {
    over(Lake::pods(release.mode(), sets), data)
        .executor("local_scan_bytes_max = 0")
        .log("warn,executor=info")
        .start()
        .await
}

/// What a server without executors answers.
pub(crate) async fn expected(data: &Path) -> Result<Vec<Vec<Cell>>> {
    let lake = over(Lake::embedded(), data).start().await?;
    rows(&lake.client().await?.query(QUERY).await?)
}

/// Waits until the Events of the release's Lease have one of that reason with each of these texts.
pub(crate) async fn until_told(release: &Release, reason: &str, texts: &[&str]) -> Result<()> {
    let began = Instant::now();
    loop {
        let events = release
            .api::<Event>()
            .list(&ListParams::default())
            .await?
            .items
            .into_iter();
        let about = |event: &Event| {
            let lease = event
                .regarding
                .as_ref()
                .is_some_and(|lease| lease.kind.as_deref() == Some("Lease"));
            lease && event.reason.as_deref() == Some(reason)
        };
        let notes: Vec<_> = events.filter(about).filter_map(|event| event.note).collect();
        if texts.iter().all(|text| notes.iter().any(|note| note.contains(text))) {
            return Ok(());
        }
        ensure!(
            began.elapsed() < PATIENCE,
            "no event {reason} with {texts:?}: {notes:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
