//! The figures that a server shows, read as Prometheus reads them, beside what was done.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Lake, demo, free_port, rows};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;

const QUERY: &str = "SELECT l_returnflag, count(*) FROM lineitem GROUP BY l_returnflag";
/// Work for minutes, and no row.
const LONG: &str = "SELECT count(*) FROM lineitem a JOIN lineitem b ON a.l_orderkey * b.l_orderkey <> -1";

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_those_of_what_was_done() -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(0.01, &["--data-dir", &data.path().display().to_string()]).await?;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
    let sets = "[[executor.sets]]\nname = \"spot\"\nmax = 1\nround = \"300ms\"\nidle_timeout = \"60s\"";
    let lake = Lake::started(sets)
        .data(data.path())
        .executor("local_scan_bytes_max = 0")
        .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"\nshutdown_grace = \"3s\"")
        .section(&format!("[metrics]\nlisten = \"{address}\""))
        .start()
        .await?;
    let mut client = lake.client().await?;
    let before = figures(address).await?;
    let check = |figures: &Figures, name: &str, expect: f64| {
        let found = figures.get(name).copied();
        ensure!(found == Some(expect), "{name} is {found:?}, not {expect}: {figures:#?}");
        Ok(())
    };
    check(&before, "lakewing_executors_started_total{set=\"spot\"}", 0.0)?;
    check(&before, "lakewing_executors_max{set=\"spot\"}", 1.0)?;
    ensure!(
        before.keys().all(|name| !name.starts_with("lakewing_executors{")),
        "{before:#?}"
    );

    let given = rows(&client.query(QUERY).await?)?.len();
    client.failure("SELECT count(*) / 0 FROM lineitem").await?;
    let after = figures(address).await?;
    check(&after, "lakewing_executors_started_total{set=\"spot\"}", 1.0)?;
    check(&after, "lakewing_executors_failed_total{set=\"spot\"}", 0.0)?;
    check(&after, "lakewing_executors{set=\"spot\",state=\"ready\"}", 1.0)?;
    check(&after, "lakewing_queries_ended_total{outcome=\"finished\"}", 1.0)?;
    check(&after, "lakewing_queries_ended_total{outcome=\"failed\"}", 1.0)?;
    check(&after, "lakewing_rows_returned_total", given as f64)?;
    check(&after, "lakewing_query_duration_seconds_count", 2.0)?;
    check(&after, "lakewing_queries{state=\"running\"}", 0.0)?;
    let seconds = "lakewing_executor_seconds_total{set=\"spot\"}";
    ensure!(after.get(seconds).is_some_and(|seconds| *seconds > 0.0), "{after:#?}");
    ensure!(after.len() >= 40, "{} series", after.len());

    // It is ready until it is told to stop, and answers until it has.
    ensure!(get(address, "/ready").await?.0 == 200 && get(address, "/live").await?.0 == 200);
    ensure!(get(address, "/other").await?.0 == 404);
    let asking = client.failure(LONG);
    let ending = async {
        let began = Instant::now();
        while figures(address).await?.get("lakewing_queries{state=\"running\"}") != Some(&1.0) {
            ensure!(began.elapsed() < Duration::from_secs(30), "the query does not run");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (stopped, watched) = tokio::join!(lake.server.terminate(), not_ready(address));
        watched?;
        ensure!(stopped?.success());
        Ok(())
    };
    let (told, ended) = tokio::join!(asking, ending);
    ended?;
    let told = told?;
    ensure!(told.code() == Code::Unavailable, "{told}");
    ensure!(told.message().contains("its server stops"), "{told}");
    Ok(())
}

/// Waits until the server says that it stops, and looks whether it says that it lives.
async fn not_ready(address: SocketAddr) -> Result<()> {
    let began = Instant::now();
    while get(address, "/ready").await?.0 != 503 {
        ensure!(began.elapsed() < Duration::from_secs(2), "it is ready while it stops");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ensure!(get(address, "/live").await?.0 == 200);
    Ok(())
}

/// Values by name and labels, as they are written.
type Figures = BTreeMap<String, f64>;

/// A page of the OpenMetrics text format, read strictly: each figure belongs to a described one, none comes twice.
async fn figures(address: SocketAddr) -> Result<Figures> {
    let (status, page) = get(address, "/metrics").await?;
    ensure!(status == 200, "{status}");
    let lines = page
        .strip_suffix("# EOF\n")
        .context("the page does not end with # EOF")?;
    let (mut described, mut helped, mut figures) = (Vec::new(), Vec::new(), Figures::new());
    for line in lines.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match *words {
            ["#", "TYPE", name, kind] => described.push((name.to_owned(), kind.to_owned())),
            ["#", "UNIT", name, _] => ensure!(described.iter().any(|(known, _)| known == name), "{line}"),
            ["#", "HELP", name, _] => helped.push(name.to_owned()),
            _ => {
                let (name, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
                let (known, kind) = described.last().context("nothing is described")?;
                let suffix = name.split('{').next().and_then(|name| name.strip_prefix(&**known));
                let fits = match (kind.as_str(), suffix) {
                    ("gauge", Some("")) | ("counter", Some("_total")) => true,
                    ("histogram", Some(suffix)) => ["_bucket", "_sum", "_count"].contains(&suffix),
                    _ => false,
                };
                ensure!(fits, "{line} below {known}, a {kind}");
                ensure!(
                    figures.insert(name.to_owned(), value.parse()?).is_none(),
                    "{name} comes twice"
                );
            }
        }
    }
    ensure!(
        described.iter().all(|(name, _)| helped.contains(name)),
        "{described:?} and {helped:?}"
    );
    Ok(figures)
}

/// The status and the body that HTTP/1.1 gives.
async fn get(address: SocketAddr, path: &str) -> Result<(u16, String)> {
    let mut connection = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    let Some((head, body)) = answer.split_once("\r\n\r\n") else {
        bail!("no answer: {answer}");
    };
    ensure!(!head.to_lowercase().contains("transfer-encoding"), "{head}");
    let status = head.split(' ').nth(1).context("no status")?;
    Ok((status.parse()?, body.to_owned()))
}
