//! What the Flight SQL server adds to the protocol: a large result to the Python ADBC client beside a bare server that
//! sends the same batches, and many clients at once that ask for single rows.

mod bare;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMicrosecondArray,
};
use bare::Bare;
use harness::tables::{DeltaTable, FileLayout, delta, write_parquet};
use harness::{Client, Lake, demo, python, read_slowly};
use serde_json::json;
use tokio::task::JoinSet;

const MIXED: &str = "SELECT * FROM delta.bench.mixed";
const FILES: i64 = 10;
const ROWS_PER_FILE: i64 = 1_000_000;
const RUNS: usize = 5;
const CLIENTS: usize = 64;
const WARM_UP: Duration = Duration::from_secs(2);
const MEASURED: Duration = Duration::from_secs(10);

/// Prints `ratio_stream`, `point_qps`, `point_p99_ms` and `ratio_direct`.
pub(crate) async fn run(as_json: bool) -> Result<()> {
    let data = tempfile::tempdir()?;
    let data_dir = data.path().to_str().context("a path that is no text")?;
    demo(0.01, &["--data-dir", data_dir]).await?;
    write_mixed(&data.path().join("delta/bench/mixed"))?;
    let lake = Lake::embedded().data(data.path()).start().await?;
    let ratio = ratio_stream(&lake).await?;
    let direct = ratio_direct(data.path()).await?;
    let mut latencies = point_queries(lake.address()).await?;
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    let qps = latencies.len() as f64 / MEASURED.as_secs_f64();
    let (p50, p99) = (at(0.5), at(0.99));
    println!("{CLIENTS} clients: {qps:.0} queries/s, p50 {p50:.2} ms, p99 {p99:.2} ms");
    if as_json {
        let points = json!({"point_qps": qps, "point_p50_ms": p50, "point_p99_ms": p99});
        let mut result = json!({"ratio_stream": ratio, "ratio_direct": direct});
        result
            .as_object_mut()
            .context("no object")?
            .extend(points.as_object().cloned().unwrap_or_default());
        println!("{result}");
    }
    Ok(())
}

/// The rate of the lake's rows over the rate of the bare server's, each of its best run.
async fn ratio_stream(lake: &Lake) -> Result<f64> {
    let batches = lake.client().await?.query(MIXED).await?;
    let bare = Bare::start(batches).await?;
    let mut best = [f64::INFINITY; 2];
    println!("run  lake s  bare s");
    for run in 1..=RUNS {
        let mut took = [0.0; 2];
        for (side, address) in [lake.address(), bare.address].into_iter().enumerate() {
            let answer = python("stream.py", json!({"uri": format!("grpc://{address}"), "sql": MIXED})).await?;
            ensure!(answer["rows"] == json!(FILES * ROWS_PER_FILE), "{answer}");
            took[side] = answer["seconds"].as_f64().context("no seconds")?;
            best[side] = best[side].min(took[side]);
        }
        println!("{run:3}  {:6.2}  {:6.2}", took[0], took[1]);
    }
    let ratio = best[1] / best[0];
    println!("ratio_stream {ratio:.2}");
    Ok(ratio)
}

/// The rate of rows that come from two executor processes over the rate of the same rows through the server, each of its
/// best run.
async fn ratio_direct(data: &Path) -> Result<f64> {
    let auth = "[auth]\nmode = \"basic\"\nusers = { bench = \"bench\" }\n";
    let lake = Lake::processes(2).usual_scans().data(data).section(auth);
    let lake = lake.executor("results = { listen = \"127.0.0.1:0\" }").start().await?;
    let uri = format!("grpc://{}", lake.address());
    let mut best = [f64::INFINITY; 2];
    println!("run  server s  executors s");
    for run in 1..=RUNS {
        let mut took = [0.0; 2];
        for (way, direct) in ["off", "on"].into_iter().enumerate() {
            let set = format!("direct_results = '{direct}'");
            let request = json!({"uri": uri, "username": "bench", "password": "bench", "sql": MIXED, "set": set});
            let answer = python("stream.py", request).await?;
            ensure!(answer["rows"] == json!(FILES * ROWS_PER_FILE), "{answer}");
            took[way] = answer["seconds"].as_f64().context("no seconds")?;
            best[way] = best[way].min(took[way]);
        }
        println!("{run:3}  {:8.2}  {:11.2}", took[0], took[1]);
    }
    let ratio = best[0] / best[1];
    println!("ratio_direct {ratio:.2}");
    Ok(ratio)
}

/// Milliseconds of each query.
async fn point_queries(address: SocketAddr) -> Result<Vec<f64>> {
    let mut clients = JoinSet::new();
    let began = Instant::now();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            let mut connection = Client::connect(address).await?;
            let mut latencies = Vec::new();
            for number in client.. {
                let sql = format!(
                    "SELECT n_name FROM lake.tpch.nation WHERE n_nationkey = {}",
                    number % 25
                );
                let asked = Instant::now();
                let batches = connection.query(&sql).await?;
                ensure!(batches.iter().map(RecordBatch::num_rows).sum::<usize>() == 1, "{sql}");
                if began.elapsed() > WARM_UP + MEASURED {
                    break;
                }
                if began.elapsed() > WARM_UP {
                    latencies.push(asked.elapsed().as_secs_f64() * 1e3);
                }
            }
            Ok(latencies)
        });
    }
    let all = clients.join_all().await.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(all.concat())
}

/// Prints the server's memory while a client reads a large result at 10 MB/s.
pub(crate) async fn slow_reader(megabytes: f64) -> Result<()> {
    let lake = Lake::embedded().start().await?;
    let sql = "SELECT value, value * 2 AS twice, 'a text of some length, number ' || value AS text \
               FROM range(0, 100000000000)";
    let samples = read_slowly(&lake, sql, megabytes, 10.0, Duration::from_secs(10)).await?;
    println!("     s  received MB  resident MB");
    for sample in &samples {
        let seconds = sample.after.as_secs_f64();
        println!(
            "{seconds:6.0}  {:11.0}  {:11.1}",
            sample.received_mb, sample.resident_mb
        );
    }
    Ok(())
}

/// Ten million rows of mixed types, not compressed.
fn write_mixed(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let layout = FileLayout {
        compressed: false,
        dictionary: false,
        ..FileLayout::default()
    };
    let (mut table, mut added) = (None, Vec::new());
    for file in 0..FILES {
        let batch = mixed(file * ROWS_PER_FILE..(file + 1) * ROWS_PER_FILE)?;
        let schema = delta::struct_json(batch.schema().fields())?;
        let name = format!("{file}.parquet");
        let written = write_parquet(&folder.join(&name), &[batch], &layout)?;
        added.push(DeltaTable::add(&name, &written, &json!({}), None));
        table.get_or_insert_with(|| DeltaTable::new(folder, schema));
    }
    table.context("no files")?.commit(&[], added)
}

fn mixed(ids: std::ops::Range<i64>) -> Result<RecordBatch> {
    let ids: Vec<i64> = ids.collect();
    let narrow = |id: &i64, modulo: i64| i32::try_from(id % modulo).unwrap_or_default();
    let decimals = Decimal128Array::from_iter_values(ids.iter().map(|id| i128::from(id * 7919 % 10_000_000)));
    let moments =
        TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| 1_700_000_000_000_000 + id * 1_000_003));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(ids.clone()))),
        (
            "group",
            Arc::new(Int32Array::from_iter_values(ids.iter().map(|id| narrow(id, 1000)))),
        ),
        (
            "value",
            Arc::new(Float64Array::from_iter_values(ids.iter().map(|id| *id as f64 * 0.37))),
        ),
        ("price", Arc::new(decimals.with_precision_and_scale(15, 2)?)),
        (
            "day",
            Arc::new(Date32Array::from_iter_values(
                ids.iter().map(|id| 18_000 + narrow(id, 2000)),
            )),
        ),
        ("at", Arc::new(moments.with_timezone("UTC"))),
        (
            "name",
            Arc::new(StringArray::from_iter_values(
                ids.iter().map(|id| format!("customer {:06}", id % 150_000)),
            )),
        ),
        (
            "open",
            Arc::new(BooleanArray::from_iter(
                ids.iter().map(|id| (id % 17 != 0).then_some(id % 3 == 0)),
            )),
        ),
    ];
    Ok(RecordBatch::try_from_iter_with_nullable(
        columns.into_iter().map(|(name, column)| (name, column, true)),
    )?)
}
