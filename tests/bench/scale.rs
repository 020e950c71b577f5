//! How long the first queries of a server without executors take, and how soon it has none again. The executors are
//! processes on this machine, or pods of a Kubernetes cluster whose node is this machine.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::{Client, Cluster, Lake, LakeBuilder, Node, demo};
use serde_json::{Value, json};

const RUNS: usize = 5;
const QUERY: &str = "SELECT l_returnflag, sum(l_quantity), count(*) FROM lineitem GROUP BY l_returnflag ORDER BY 1";
const COUNT: &str = "SELECT name FROM system.executors";
const SETS: &str = "[[executor.sets]]\nmax = 1\nround = \"200ms\"\ncool_down = \"0s\"\nidle_timeout = \"1s\"";

/// Prints medians. `small_query_at_zero_ms`: a query that the server answers itself. `zero_to_first_task_ms`: from the
/// call to the answer of one that waits for an executor, less what the same query takes once that is there.
/// `idle_to_zero_ms`: from the answer until no executor is left, with an idle timeout of one second.
pub(crate) async fn run(pods: bool, as_json: bool) -> Result<()> {
    let data = tempfile::tempdir()?;
    let folder = data.path().to_str().context("a path that is no text")?;
    demo(0.01, &["--data-dir", folder]).await?;
    let over = |builder: LakeBuilder| {
        builder
            .data(data.path())
            .setting("default_catalog = \"delta\"\ndefault_namespace = \"tpch\"")
    };
    let figures = if pods {
        let cluster = Cluster::start().await?;
        let _node = Node::start(&cluster.admin, "one", 100).await?;
        let release = cluster.release("bench").await?;
        measure(async || {
            let began = Instant::now();
            // The pods of the server before may still go.
            while !release.pods().await?.is_empty() {
                ensure!(began.elapsed() < Duration::from_secs(60), "pods stay");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Ok(over(Lake::pods(release.mode(), SETS)))
        })
        .await?
    } else {
        measure(async || Ok(over(Lake::started(SETS)))).await?
    };
    if as_json {
        println!("{figures}");
    }
    Ok(())
}

/// The figures of servers that `server` describes.
async fn measure(server: impl AsyncFn() -> Result<LakeBuilder>) -> Result<Value> {
    let (mut small, mut first, mut idle) = (Vec::new(), Vec::new(), Vec::new());
    println!("run  small_query_at_zero_ms  zero_to_first_task_ms  idle_to_zero_ms");
    for run in 1..=RUNS {
        let lake = server().await?.start().await?;
        let answered = took(&mut lake.client().await?).await?;
        lake.server.terminate().await?;
        let lake = server().await?.executor("local_scan_bytes_max = 0").start().await?;
        let mut client = lake.client().await?;
        let cold = took(&mut client).await?;
        let warm = took(&mut client).await?;
        let ended = gone(&mut client).await?;
        lake.server.terminate().await?;
        let begun = cold.saturating_sub(warm);
        println!("{run:3}  {:22.1}  {:21.1}  {:15.1}", ms(answered), ms(begun), ms(ended));
        small.push(ms(answered));
        first.push(ms(begun));
        idle.push(ms(ended));
    }
    let (small, first, idle) = (median(small), median(first), median(idle));
    println!("med  {small:22.1}  {first:21.1}  {idle:15.1}");
    Ok(json!({
        "small_query_at_zero_ms": small,
        "zero_to_first_task_ms": first,
        "idle_to_zero_ms": idle,
        "runs": RUNS,
    }))
}

async fn took(client: &mut Client) -> Result<Duration> {
    let began = Instant::now();
    client.query(QUERY).await?;
    Ok(began.elapsed())
}

/// Waits until there is no executor.
async fn gone(client: &mut Client) -> Result<Duration> {
    let began = Instant::now();
    loop {
        let there = client.query(COUNT).await?;
        if there.iter().all(|batch| batch.num_rows() == 0) {
            return Ok(began.elapsed());
        }
        ensure!(began.elapsed() < Duration::from_secs(60), "executors stay: {there:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
