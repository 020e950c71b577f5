//! All 22 TPC-H queries over Iceberg and over Delta, in every size of Lakewing, answer what DataFusion alone answers over
//! plain Parquet files that another program made.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use harness::{Cell, Client, Lake, LakeBuilder, Minio, Process, demo, rows, same_rows, tpch_parquet, workspace};

/// The scale factor, unless `LAKEWING_TPCH_SCALE` names another.
const SCALE: f64 = 0.1;
const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];

/// A query and its rows.
pub(super) type Answer = (String, Vec<Vec<Cell>>);

#[tokio::test(flavor = "multi_thread")]
async fn local_files() -> Result<()> {
    let reference = reference().await?;
    let data = tempfile::tempdir()?;
    demo(scale()?, &["--data-dir", path(data.path())?]).await?;
    for catalog in ["lake", "delta"] {
        check(
            &format!("{catalog}, embedded"),
            Lake::embedded().data(data.path()),
            (catalog, "tpch"),
            &reference,
            true,
        )
        .await?;
        check(
            &format!("{catalog}, two executors"),
            Lake::executors(2).usual_joins().data(data.path()),
            (catalog, "tpch"),
            &reference,
            true,
        )
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn four_executor_processes_over_s3() -> Result<()> {
    let reference = reference().await?;
    let minio = Minio::start().await?;
    let folder = tempfile::tempdir()?;
    let sections = format!(
        "[catalogs.lake]\ntype = \"iceberg-sql\"\nuri = \"sqlite://{}\"\nwarehouse = \"s3://lake/iceberg\"\n\
         [catalogs.delta]\ntype = \"delta\"\nroot = \"s3://lake/delta\"\n{}",
        folder.path().join("catalog.db").display(),
        minio.storage()
    );
    let config = folder.path().join("demo.toml");
    std::fs::write(&config, &sections)?;
    demo(scale()?, &["--config", path(&config)?]).await?;
    for catalog in ["lake", "delta"] {
        let lake = Lake::processes(4).section(&sections);
        let lake = check(
            &format!("{catalog}, four executor processes"),
            lake,
            (catalog, "tpch"),
            &reference,
            true,
        )
        .await?;
        if catalog == "delta" {
            let mut client = lake.client().await?;
            client.login("ann", "").await?;
            client.query("SET adaptive_tasks = 'on'").await?;
            compare("delta, tasks counted as rows come", &mut client, &reference, true).await?;
        }
        for executor in &lake.executors {
            ensure!(cpu_ticks(executor)? > 10, "an executor process did nothing");
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
fn scale() -> Result<f64> {
    match std::env::var("LAKEWING_TPCH_SCALE") {
        Ok(scale) => Ok(scale.parse()?),
        Err(_) => Ok(SCALE),
    }
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

async fn reference() -> Result<Vec<Answer>> {
    let folder = tempfile::tempdir()?;
    tpch_parquet(scale()?, folder.path()).await?;
    let context = SessionContext::new();
    for table in TABLES {
        let file = folder.path().join(format!("{table}.parquet"));
        context
            .register_parquet(table, path(&file)?, ParquetReadOptions::default())
            .await?;
    }
    let mut answers = Vec::new();
    for number in 1..=22 {
        let sql = std::fs::read_to_string(workspace().join(format!("tests/tpch/q{number:02}.sql")))?;
        let answer = rows(&context.sql(&sql).await?.collect().await?)?;
        ensure!(!answer.is_empty(), "query {number} has no answer to compare");
        answers.push((sql, answer));
    }
    Ok(answers)
}

/// Asks every query and compares the rows, in order where `ordered`: at this scale no TPC-H query has ties in its ORDER BY.
pub(super) async fn check(
    what: &str,
    lake: LakeBuilder,
    (catalog, namespace): (&str, &str),
    reference: &[Answer],
    ordered: bool,
) -> Result<Lake> {
    let defaults = format!("default_catalog = {catalog:?}\ndefault_namespace = {namespace:?}");
    let lake = lake.setting(&defaults).start().await?;
    compare(what, &mut lake.client().await?, reference, ordered).await?;
    Ok(lake)
}

async fn compare(what: &str, client: &mut Client, reference: &[Answer], ordered: bool) -> Result<()> {
    let mut differences = Vec::new();
    for (index, (sql, expected)) in reference.iter().enumerate() {
        let what = format!("{what}, query {}", index + 1);
        let compared = match client.query(sql).await {
            Ok(batches) => same_rows(&what, expected, &rows(&batches)?, ordered),
            Err(error) => Err(error.context(what)),
        };
        differences.extend(compared.err().map(|error| format!("{error:#}")));
    }
    ensure!(differences.is_empty(), "{}", differences.join("\n"));
    Ok(())
}

/// Processor time that a process has used, in hundredths of a second.
fn cpu_ticks(process: &Process) -> Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.id()))?;
    // After the parenthesised name the 12th and 13th fields are user and system time.
    let (_, fields) = stat.rsplit_once(')').context("an unknown form of /proc/PID/stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    Ok(ticks)
}
