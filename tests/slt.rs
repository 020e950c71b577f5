//! SQL in, rows out: every file of `slt/`, on each table format and each way to run a plan. The files name neither: tables
//! are TPC-H's, found in the session's default namespace.
//!
//! With the variable LAKEWING_SLT_COMPLETE set, the first test writes the answers into the files: read them before they
//! are believed.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use harness::{Cell, Client, Lake, LakeBuilder, demo, rows, workspace};
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner, strict_column_validator};

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_local() -> Result<()> {
    run(Lake::embedded(), "lake", complete()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn iceberg_streaming() -> Result<()> {
    run(Lake::executors(2), "lake", false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_local() -> Result<()> {
    run(Lake::embedded(), "delta", false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn delta_streaming() -> Result<()> {
    run(Lake::executors(2), "delta", false).await
}

#[allow(clippy::disallowed_methods, reason = "a switch of this test")]
fn complete() -> bool {
    std::env::var("LAKEWING_SLT_COMPLETE").is_ok()
}

async fn run(lake: LakeBuilder, catalog: &str, complete: bool) -> Result<()> {
    let data = tempfile::tempdir()?;
    demo(
        0.01,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    let defaults = format!("default_catalog = {catalog:?}\ndefault_namespace = \"tpch\"");
    let files = tempfile::tempdir()?;
    write_files(files.path())?;
    let storage = format!("[[storage]]\nprefix = \"file://{}\"", files.path().display());
    let lake = lake
        .data(data.path())
        .setting(&defaults)
        .section(&storage)
        .start()
        .await?;
    let mut failures = Vec::new();
    for file in scripts(&workspace().join("tests/slt"))? {
        let mut runner = Runner::new(|| async { Ok(Session::open(&lake).await?) });
        runner.with_column_validator(strict_column_validator);
        // For the scripts that say `control substitution on`.
        runner.set_var("lake".to_owned(), data.path().display().to_string());
        runner.set_var("files".to_owned(), files.path().display().to_string());
        if complete {
            let (validator, normalizer) = (sqllogictest::default_validator, sqllogictest::default_normalizer);
            let updated = runner
                .update_test_file(&file, " ", validator, normalizer, strict_column_validator)
                .await;
            updated.map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        } else if let Err(error) = runner.run_file_async(&file).await {
            failures.push(error.display(false).to_string());
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
    Ok(())
}

/// Files that belong to no table.
fn write_files(folder: &Path) -> Result<()> {
    let files = [
        ("regions.csv", "id,note\n0,\"hot, dry\"\n1,\"two\nlines\"\n3,\n"),
        (
            "events/year=2025/a.json",
            "{\"id\": 1, \"tags\": [\"x\"]}\n{\"id\": 2}\n",
        ),
        ("events/year=2026/b.json", "{\"id\": 3, \"at\": \"2026-01-01\"}\n"),
        ("events/year=2026/_SUCCESS", ""),
        ("damaged/bad.parquet", "PAR1, but not for long"),
        ("mixed/1.csv", "a,b\n1,2\n"),
        ("mixed/2.csv", "b,a\n1,2\n"),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, text)?;
    }
    Ok(())
}

fn scripts(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            scripts.extend(self::scripts(&path)?)
        } else {
            scripts.push(path)
        }
    }
    scripts.sort();
    Ok(scripts)
}

/// One script's connection, logged in so that the server keeps a session for it.
struct Session(Client);

impl Session {
    async fn open(lake: &Lake) -> Result<Self> {
        let mut client = lake.client().await?;
        client.login("slt", "").await?;
        Ok(Self(client))
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SqlError(String);

impl From<anyhow::Error> for SqlError {
    fn from(error: anyhow::Error) -> Self {
        Self(format!("{error:#}"))
    }
}

#[async_trait::async_trait]
impl AsyncDB for Session {
    type Error = SqlError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, SqlError> {
        let batches = self.0.query(sql).await?;
        let types = batches.first().map(column_types).unwrap_or_default();
        let rows = rows(&batches)?
            .into_iter()
            .map(|row| row.into_iter().map(text).collect())
            .collect();
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}
}

fn column_types(batch: &RecordBatch) -> Vec<DefaultColumnType> {
    let schema = batch.schema();
    let kind = |data_type: &DataType| match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DefaultColumnType::Text,
        integer if integer.is_integer() => DefaultColumnType::Integer,
        number if number.is_numeric() => DefaultColumnType::FloatingPoint,
        _ => DefaultColumnType::Any,
    };
    schema.fields().iter().map(|field| kind(field.data_type())).collect()
}

/// Floats keep 12 digits: the order of a sum may differ between engines.
fn text(cell: Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Float(number) => format!("{number:.11e}").parse::<f64>().unwrap_or(number).to_string(),
        Cell::Text(text) if text.is_empty() => "(empty)".to_owned(),
        Cell::Text(text) => text,
    }
}
