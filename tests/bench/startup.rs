//! How fast `lakewing serve` with an existing embedded catalog accepts Flight SQL calls, and how much memory it then holds.

use anyhow::{Context, Result};
use harness::{Lake, demo};
use serde_json::json;

const RUNS: usize = 9;

/// Prints `ready_ms` (process start to first answered call) and `rss_mb` (resident before the first query): medians.
pub(crate) async fn run(as_json: bool) -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(
        0.01,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    let (mut ready_ms, mut rss_mb) = (Vec::new(), Vec::new());
    println!("run  ready_ms  rss_mb");
    for run in 1..=RUNS {
        let lake = Lake::embedded().data(data.path()).start().await?;
        let (ready, rss) = (lake.ready_after.as_secs_f64() * 1e3, lake.server.resident_mb()?);
        println!("{run:3}  {ready:8.1}  {rss:6.1}");
        ready_ms.push(ready);
        rss_mb.push(rss);
        lake.server.terminate().await?;
    }
    let (ready_ms, rss_mb) = (median(ready_ms), median(rss_mb));
    println!("med  {ready_ms:8.1}  {rss_mb:6.1}");
    if as_json {
        println!("{}", json!({"ready_ms": ready_ms, "rss_mb": rss_mb, "runs": RUNS}));
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
