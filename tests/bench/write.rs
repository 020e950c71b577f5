//! What a lake write costs beside DataFusion's own COPY TO: lineitem as a new table of each format against the same rows as
//! plain Parquet files, from the same file, turn by turn; how large the files of a table become; and MERGE of a hundredth
//! of its rows.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use harness::{Client, Lake, part, spark, tpch_parquet};
use serde_json::{Map, Value, json};

use super::scan::parquet_files;

/// Each side writes the table this often; its time is the least.
const RUNS: usize = 3;
/// What the files of the table aim at whose sizes are looked at. Lineitem of scale 1 has about 200 MB.
const TARGET_BYTES: u64 = 16 << 20;

/// Prints `ratio_copy_FORMAT` (the time of CREATE TABLE AS by that of COPY TO), `ratio_spark_FORMAT` where Spark is
/// installed, `file_size_deviation_FORMAT` (the worst of all files but the last of each writer, as a part of the target),
/// `merge_s_FORMAT` and `merge_gb_FORMAT` (written by it).
pub(crate) async fn run(scale: f64, as_json: bool) -> Result<()> {
    let source = tempfile::tempdir()?;
    println!("making lineitem of scale {scale}");
    tpch_parquet(scale, source.path()).await?;
    let data = tempfile::tempdir()?;
    let storage = format!("[[storage]]\nprefix = \"file://{}\"\n", source.path().display());
    let lake = Lake::embedded().data(data.path()).section(&storage).start().await?;
    let mut client = lake.client().await?;
    let rows = format!(
        "SELECT * FROM parquet.\"file://{}/lineitem.parquet\"",
        source.path().display()
    );
    for catalog in ["lake", "delta"] {
        changed(&mut client, &format!("CREATE SCHEMA IF NOT EXISTS {catalog}.bench")).await?;
    }
    let mut figures = Map::from_iter([("scale".to_owned(), json!(scale))]);
    let mut times: BTreeMap<&str, f64> = BTreeMap::new();
    println!("run  copy s  iceberg s  delta s");
    for run in 0..RUNS {
        let copy = copied(source.path(), run).await?;
        let iceberg = created(&mut client, "lake", &rows).await?;
        let delta = created(&mut client, "delta", &rows).await?;
        println!("{run:3}  {copy:6.2}  {iceberg:9.2}  {delta:7.2}");
        for (name, time) in [("copy", copy), ("iceberg", iceberg), ("delta", delta)] {
            let least = times.entry(name).or_insert(f64::INFINITY);
            *least = least.min(time);
        }
    }
    let least = |name: &str| times.get(name).copied().unwrap_or(f64::NAN);
    let spark = by_spark(source.path()).await?;
    for (catalog, format) in [("lake", "iceberg"), ("delta", "delta")] {
        let mut keep = |name: &str, value: f64| {
            println!("{name}_{format}: {value:.3}");
            figures.insert(format!("{name}_{format}"), json!(value));
        };
        keep("ratio_copy", least(format) / least("copy"));
        if let Some(spark) = spark.as_ref().and_then(|times| times[format].as_f64()) {
            keep("ratio_spark", least(format) / spark);
        }
        keep(
            "file_size_deviation",
            sizes(&mut client, data.path(), catalog, &rows).await?,
        );
        let (seconds, gigabytes) = merged(&mut client, data.path(), catalog, &rows).await?;
        keep("merge_s", seconds);
        keep("merge_gb", gigabytes);
    }
    if as_json {
        println!("{}", Value::Object(figures));
    }
    Ok(())
}

/// Runs a statement; the number of rows that it says.
async fn changed(client: &mut Client, sql: &str) -> Result<i64> {
    let count = client.raw().execute_update(sql.to_owned(), None).await;
    count.with_context(|| sql.to_owned())
}

/// Seconds that DataFusion alone takes to write the rows as Parquet files, compressed as tables are.
async fn copied(source: &Path, run: usize) -> Result<f64> {
    let context = SessionContext::new();
    let file = source.join("lineitem.parquet");
    let file = file.to_str().context("a path that is no text")?;
    context
        .register_parquet("lineitem", file, ParquetReadOptions::default())
        .await?;
    let to = source.join(format!("copy-{run}"));
    let sql = format!(
        "COPY (SELECT * FROM lineitem) TO '{}/' STORED AS PARQUET OPTIONS ('format.compression' 'zstd(1)')",
        to.display()
    );
    let began = Instant::now();
    context.sql(&sql).await?.collect().await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(!parquet_files(&to)?.is_empty(), "COPY TO wrote no file");
    std::fs::remove_dir_all(&to)?;
    Ok(took)
}

/// Seconds of CREATE TABLE AS.
async fn created(client: &mut Client, catalog: &str, rows: &str) -> Result<f64> {
    let began = Instant::now();
    changed(
        client,
        &format!("CREATE OR REPLACE TABLE {catalog}.bench.lineitem AS {rows}"),
    )
    .await?;
    Ok(began.elapsed().as_secs_f64())
}

/// How far the worst file is from the target, as a part of it. The last file of a writer has what is left.
async fn sizes(client: &mut Client, data: &Path, catalog: &str, rows: &str) -> Result<f64> {
    let property = match catalog {
        "lake" => "write.target-file-size-bytes",
        _ => "delta.targetFileSize",
    };
    let sql = format!("CREATE TABLE {catalog}.bench.sized TBLPROPERTIES ('{property}' = '{TARGET_BYTES}') AS {rows}");
    changed(client, &sql).await?;
    // Names end with the number of the file within its writer.
    let mut writers: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for file in parquet_files(&data.join(catalog).join("bench/sized"))? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (writer, number) = name.rsplit_once('-').context("a file without a number")?;
        let files = writers.entry(writer.to_owned()).or_default();
        files.push((number.to_owned(), file.metadata()?.len()));
    }
    let mut worst: f64 = 0.0;
    for mut files in writers.into_values() {
        files.sort();
        files.pop();
        for (_, bytes) in files {
            worst = worst.max((bytes as f64 / TARGET_BYTES as f64 - 1.0).abs());
        }
    }
    Ok(worst)
}

/// Seconds of a MERGE that changes a hundredth of the rows, and the gigabytes of data files that it writes.
async fn merged(client: &mut Client, data: &Path, catalog: &str, rows: &str) -> Result<(f64, f64)> {
    let table = format!("{catalog}.bench.lineitem");
    let folder = data.join(catalog).join("bench/lineitem");
    let before = bytes(&folder)?;
    let sql = format!(
        "MERGE INTO {table} AS t USING (SELECT * FROM ({rows}) AS l WHERE l.l_orderkey % 100 = 7) AS s \
         ON t.l_orderkey = s.l_orderkey AND t.l_linenumber = s.l_linenumber \
         WHEN MATCHED THEN UPDATE SET l_comment = 'merged'"
    );
    let began = Instant::now();
    let changed = changed(client, &sql).await?;
    let took = began.elapsed().as_secs_f64();
    ensure!(changed > 0, "MERGE changed no row");
    let written = bytes(&folder)?.saturating_sub(before);
    Ok((took, written as f64 / 1e9))
}

fn bytes(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for file in parquet_files(folder)? {
        sum += file.metadata()?.len();
    }
    Ok(sum)
}

/// Seconds that Spark takes for the same tables, by format; nothing where it is not installed.
async fn by_spark(source: &Path) -> Result<Option<Value>> {
    if part("spark").is_err() {
        println!("Spark is not installed: no ratio_spark");
        return Ok(None);
    }
    Ok(Some(
        spark("spark_bench.py", json!({"folder": source, "runs": RUNS})).await?,
    ))
}
