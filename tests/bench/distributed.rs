//! What spreading a query over executor processes costs and gives on one machine: TPC-H on 1, 2 and 4 of them beside the
//! same server without any, turn by turn, with the same cores for all. One process has all cores, more have one each, in
//! turn.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use harness::{Cell, Client, Lake, LakeBuilder, rows, same_rows, workspace};
use serde_json::{Map, Value, json};

use super::Tables;

const CATALOG: &str = "delta";

/// Prints, per query, the time without executors and with so many, and what went over the network of this machine, which
/// is what was shuffled, the result and what the servers say to each other. `ratio_overhead`: the geometric mean of the
/// time on one executor process by that without any.
///
/// `counts` are the numbers of processes; each query runs `runs` times on each side, and its time is the least.
pub(crate) async fn run(tables: Tables, (counts, runs): (&[usize], usize), as_json: bool) -> Result<()> {
    let over = |builder: LakeBuilder| {
        let names = format!("default_catalog = {CATALOG:?}\ndefault_namespace = \"tpch\"");
        builder.data(&tables.folder).usual_scans().setting(&names)
    };
    let cores: Vec<usize> = (0..std::thread::available_parallelism()?.get()).collect();
    let embedded = over(Lake::embedded()).start().await?;
    let mut result = Map::from_iter([
        ("scale".to_owned(), json!(tables.scale)),
        ("cores".to_owned(), json!(cores.len())),
    ]);
    for &count in counts {
        let lake = match count {
            1 => Lake::processes(1),
            _ => Lake::processes(count).on_cores(&cores),
        };
        let lake = over(lake).executor("local_scan_bytes_max = 0").start().await?;
        let clients = (&mut embedded.client().await?, &mut lake.client().await?);
        let (ratio, gigabytes) = compare(count, runs, clients).await?;
        let name = match count {
            1 => "ratio_overhead".to_owned(),
            _ => format!("ratio_{count}"),
        };
        result.insert(name, json!(ratio));
        result.insert(format!("shuffled_gb_{count}"), json!(gigabytes));
    }
    if as_json {
        println!("{}", Value::Object(result));
    }
    Ok(())
}

/// The geometric mean of the ratios, and the gigabytes of one turn of all queries. Answers must be equal.
async fn compare(count: usize, runs: usize, clients: (&mut Client, &mut Client)) -> Result<(f64, f64)> {
    let (embedded, spread) = clients;
    println!("\n{count} executor processes\nquery  embedded ms  spread ms   ratio  network MB");
    let (mut logarithms, mut all_bytes) = (0.0, 0);
    for number in 1..=22 {
        let sql = std::fs::read_to_string(workspace().join(format!("tests/tpch/q{number:02}.sql")))?;
        let (mut alone, mut together, mut bytes) = (f64::INFINITY, f64::INFINITY, u64::MAX);
        for run in 0..runs {
            let (expected, took) = timed(embedded, &sql).await?;
            alone = alone.min(took.as_secs_f64());
            let before = network_bytes()?;
            let (answer, took) = timed(spread, &sql).await?;
            bytes = bytes.min(network_bytes()? - before);
            together = together.min(took.as_secs_f64());
            if run == 0 {
                same_rows(&format!("query {number} on {count}"), &expected, &answer, true)?;
            }
        }
        let (ratio, megabytes) = (together / alone, bytes as f64 / 1e6);
        println!(
            "{number:5}  {:11.1}  {:9.1}  {ratio:6.3}  {megabytes:10.1}",
            alone * 1e3,
            together * 1e3
        );
        logarithms += ratio.ln();
        all_bytes += bytes;
    }
    let (ratio, gigabytes) = ((logarithms / 22.0).exp(), all_bytes as f64 / 1e9);
    println!("geometric mean of the ratios: {ratio:.3}; all queries: {gigabytes:.3} GB");
    Ok((ratio, gigabytes))
}

async fn timed(client: &mut Client, sql: &str) -> Result<(Vec<Vec<Cell>>, Duration)> {
    let began = Instant::now();
    let batches = client.query(sql).await?;
    let took = began.elapsed();
    Ok((rows(&batches)?, took))
}

/// What the loopback interface of this machine has carried: bytes.
fn network_bytes() -> Result<u64> {
    let table = std::fs::read_to_string("/proc/net/dev")?;
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix("lo:"));
    let received = line.and_then(|line| line.split_whitespace().next());
    Ok(received.context("no loopback interface")?.parse()?)
}
