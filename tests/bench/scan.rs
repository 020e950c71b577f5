//! What a lake scan costs beside DataFusion's own scan: TPC-H over Iceberg and Delta tables against the same Parquet files
//! without a table format, in one process, turn by turn; then the same tables with a tenth of their rows deleted.

mod deletes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, ensure};
use catalog::{Config, Lakehouse, Stores, TableName};
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use deletes::Deletes;
use harness::{rows, same_rows, workspace};
use serde_json::{Map, Value, json};

use super::Tables;

pub(super) const TABLES: [&str; 8] = [
    "customer", "lineitem", "nation", "orders", "part", "partsupp", "region", "supplier",
];
/// Each query runs this often on each side; its time is the least.
const RUNS: usize = 5;

/// Prints the time of each query on both sides and, per table format, the geometric mean of the ratios.
pub(crate) async fn run(tables: Tables, as_json: bool) -> Result<()> {
    let folder = std::path::absolute(&tables.folder)?;
    let mut result = Map::from_iter([("scale".to_owned(), json!(tables.scale))]);
    for (name, catalog) in [("ratio_iceberg", "lake"), ("ratio_delta", "delta")] {
        let bare = bare(&folder.join(catalog)).await?;
        let lake = lake(&folder, catalog).await?;
        let ratio = compare(name, &bare, &lake, true).await?;
        result.insert(name.to_owned(), json!(ratio));
    }
    for (name, kind) in [
        ("ratio_iceberg_posdel", Deletes::IcebergPositions),
        ("ratio_iceberg_dv", Deletes::IcebergVectors),
        ("ratio_delta_dv", Deletes::DeltaVectors),
    ] {
        let bare = bare(&folder.join("lake")).await?;
        let lake = deletes::lake(&folder, kind, config()).await?;
        let ratio = compare(name, &bare, &lake, false).await?;
        result.insert(name.to_owned(), json!(ratio));
    }
    if as_json {
        println!("{}", Value::Object(result));
    }
    Ok(())
}

fn config() -> SessionConfig {
    SessionConfig::new()
}

/// DataFusion alone over the tables' data files.
async fn bare(folder: &Path) -> Result<SessionContext> {
    let context = SessionContext::new_with_config(config());
    for table in TABLES {
        let files = parquet_files(&folder.join("tpch").join(table))?;
        ensure!(!files.is_empty(), "{table} has no data file below {}", folder.display());
        let urls = files.iter().map(|file| ListingTableUrl::parse(file.to_string_lossy()));
        let options = ListingOptions::new(Arc::new(ParquetFormat::default()));
        let listing = ListingTableConfig::new_with_multi_paths(urls.collect::<Result<_, _>>()?)
            .with_listing_options(options)
            .infer_schema(&context.state())
            .await?;
        context.register_table(table, Arc::new(ListingTable::try_new(listing)?))?;
    }
    Ok(context)
}

pub(super) fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(parquet_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The same session, with lake tables.
async fn lake(folder: &Path, catalog: &str) -> Result<SessionContext> {
    let at = |name: &str| format!("file://{}", folder.join(name).display());
    let database = format!("sqlite://{}", folder.join("catalog.db").display());
    let config_value = json!({"catalogs": {
        "lake": {"type": "iceberg-sql", "uri": database, "warehouse": at("lake/")},
        "delta": {"type": "delta", "root": at("delta/")},
    }});
    let lake: Config = serde_json::from_value(config_value)?;
    let stores = Stores::new(&lake.storage)?;
    let runtime = RuntimeEnvBuilder::new().build_arc()?;
    let context = SessionContext::new_with_config_rt(config(), runtime);
    let lakehouse = Lakehouse::new(&lake, stores)?;
    for table in TABLES {
        let provider = lakehouse.table(&TableName::new(catalog, "tpch", table)).await?;
        context.register_table(table, Arc::new(provider))?;
    }
    Ok(context)
}

/// The geometric mean over all queries of the lake's time by the bare one's. Answers must be equal where no row is deleted.
async fn compare(name: &str, bare: &SessionContext, lake: &SessionContext, equal: bool) -> Result<f64> {
    println!("\n{name}\nquery   bare ms   lake ms   ratio");
    let mut logarithms = 0.0;
    for number in 1..=22 {
        let sql = std::fs::read_to_string(workspace().join(format!("tests/tpch/q{number:02}.sql")))?;
        let (mut bare_ms, mut lake_ms) = (f64::INFINITY, f64::INFINITY);
        for run in 0..RUNS {
            let (expected, ms) = timed(bare, &sql).await?;
            bare_ms = bare_ms.min(ms);
            let (answer, ms) = timed(lake, &sql).await?;
            lake_ms = lake_ms.min(ms);
            if run == 0 && equal {
                same_rows(
                    &format!("{name}, query {number}"),
                    &rows(&expected)?,
                    &rows(&answer)?,
                    true,
                )?;
            }
        }
        println!("{number:5}  {bare_ms:8.1}  {lake_ms:8.1}  {:6.3}", lake_ms / bare_ms);
        logarithms += (lake_ms / bare_ms).ln();
    }
    let ratio = (logarithms / 22.0).exp();
    println!("geometric mean of the ratios: {ratio:.3}");
    Ok(ratio)
}

async fn timed(context: &SessionContext, sql: &str) -> Result<(Vec<arrow::array::RecordBatch>, f64)> {
    let began = Instant::now();
    let batches = context.sql(sql).await?.collect().await?;
    Ok((batches, began.elapsed().as_secs_f64() * 1e3))
}
