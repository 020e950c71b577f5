//! TPC-H on executors that may hold little memory: what they need, what they spill, and whether the kernel kills one.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use harness::{Cell, Lake, LakeBuilder, MemoryGroup, rows, same_rows, workspace};
use serde_json::{Map, Value, json};

use super::Tables;

const EXECUTORS: usize = 2;
const CATALOG: &str = "delta";

/// Runs the 22 queries on two executor processes of `megabytes` each and compares the answers with those of the same
/// server without executors or limits. `answered`: queries with the right answer. `killed`: executors that the kernel
/// ended. `peak_mb`: the most that one of them held, with the files that the kernel cached for it. `spilled_gb`: what
/// they wrote to disk for want of memory.
pub(crate) async fn run(tables: Tables, megabytes: u64, as_json: bool) -> Result<()> {
    let groups: Vec<_> = (0..EXECUTORS)
        .filter_map(|_| MemoryGroup::new(megabytes << 20))
        .map(Arc::new)
        .collect();
    if groups.len() < EXECUTORS {
        bail!("the limit cannot be enforced here");
    }
    let over = |builder: LakeBuilder| {
        let names = format!("default_catalog = {CATALOG:?}\ndefault_namespace = \"tpch\"");
        builder.data(&tables.folder).usual_scans().setting(&names)
    };
    let embedded = over(Lake::embedded()).start().await?;
    let spread = Lake::processes(EXECUTORS).in_groups(&groups);
    let spread = over(spread).executor("local_scan_bytes_max = 0").start().await?;
    let (mut alone, mut limited) = (embedded.client().await?, spread.client().await?);
    println!("query  embedded s  limited s  peak MB  spilled MB  failure");
    let (mut answered, mut spilled) = (0, 0.0);
    for number in 1..=22 {
        let sql = std::fs::read_to_string(workspace().join(format!("tests/tpch/q{number:02}.sql")))?;
        let began = Instant::now();
        let expected = rows(&alone.query(&sql).await?)?;
        let alone = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let answer = limited.query(&sql).await;
        let took = began.elapsed().as_secs_f64();
        let failure = match answer {
            Ok(batches) => {
                same_rows(&format!("query {number}"), &expected, &rows(&batches)?, true)?;
                answered += 1;
                String::new()
            }
            Err(error) => format!("{error:#}"),
        };
        let explained = limited.query(&format!("EXPLAIN ANALYZE {sql}")).await;
        let megabytes = explained.map_or(Ok(0.0), |batches| Ok::<_, anyhow::Error>(spilled_mb(&rows(&batches)?)))?;
        spilled += megabytes;
        println!(
            "{number:5}  {alone:10.2}  {took:9.2}  {:7.0}  {megabytes:10.1}  {failure}",
            peak(&groups)?
        );
    }
    let killed = groups.iter().map(|group| group.killed()).sum::<Result<u64>>()?;
    let result = Map::from_iter([
        ("scale".to_owned(), json!(tables.scale)),
        ("limit_mb".to_owned(), json!(megabytes)),
        ("answered".to_owned(), json!(answered)),
        ("killed".to_owned(), json!(killed)),
        ("peak_mb".to_owned(), json!(peak(&groups)?)),
        ("spilled_gb".to_owned(), json!(spilled / 1e3)),
    ]);
    match as_json {
        true => println!("{}", Value::Object(result)),
        false => println!(
            "{answered} of 22 answered, {killed} killed, {:.3} GB spilled",
            spilled / 1e3
        ),
    }
    drop(spread);
    ensure!(killed == 0, "the kernel killed {killed} processes");
    Ok(())
}

fn peak(groups: &[Arc<MemoryGroup>]) -> Result<f64> {
    let peaks = groups.iter().map(|group| group.peak_mb());
    Ok(peaks.collect::<Result<Vec<_>>>()?.into_iter().fold(0.0, f64::max))
}

/// What the operators of an analysed plan have spilled, in megabytes.
fn spilled_mb(plan: &[Vec<Cell>]) -> f64 {
    let texts = plan.iter().flatten().filter_map(|cell| match cell {
        Cell::Text(text) => Some(text.as_str()),
        _ => None,
    });
    let amounts = texts
        .flat_map(|text| text.split("spilled_bytes=").skip(1))
        .filter_map(|rest| {
            let amount = rest.split([',', ']', '\n']).next()?.trim();
            let (number, unit) = amount.split_once(' ').unwrap_or((amount, "B"));
            let factor = match unit {
                "B" => 1e-6,
                "K" | "KB" | "KiB" => 1e-3,
                "M" | "MB" | "MiB" => 1.0,
                "G" | "GB" | "GiB" => 1e3,
                _ => return None,
            };
            Some(number.parse::<f64>().ok()? * factor)
        });
    amounts.fold(0.0, |sum, amount| sum + amount)
}
