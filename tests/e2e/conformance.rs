//! Tables that other engines wrote: each is read right or refused by name, never read wrong.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use harness::{Lake, LakeBuilder, python, workspace};
use serde_json::{Value, json};

/// Tables that break the specification: snapshot ids beyond 64 bits, version 3 without `next-row-id`.
const DAMAGED: [&str; 3] = [
    "equality_delete_cross_partition",
    "equality_delete_extra_column",
    "timestamptz_ns",
];

#[tokio::test(flavor = "multi_thread")]
async fn embedded() -> Result<()> {
    check(Lake::embedded()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn three_executor_processes() -> Result<()> {
    check(Lake::processes(3)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn files_in_many_byte_ranges() -> Result<()> {
    check(Lake::executors(3).split_files()).await
}

/// Tables of Spark, Databricks, DuckDB and others with the answers of an independent reader; they lie beside the checkout.
async fn check(lake: LakeBuilder) -> Result<()> {
    let tables = workspace().join("../shared/data");
    if !tables.exists() {
        eprintln!("skipped: {} is not there", tables.display());
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    copy(&tables, folder.path())?;
    python("conformance.py", json!({"tables": folder.path(), "do": "prepare"})).await?;
    let storage = format!("[[storage]]\nprefix = \"file://{}\"\n", folder.path().display());
    let lake = lake.section(&storage).start().await?;
    let uri = format!("grpc://{}", lake.address());
    let answers = python(
        "conformance.py",
        json!({"tables": folder.path(), "do": "read", "uri": uri}),
    )
    .await?;

    let answers = answers.as_array().context("no list of answers")?;
    let broken = answers
        .iter()
        .filter(|answer| !is_right(answer))
        .map(Value::to_string)
        .collect::<Vec<_>>();
    let equal = answers.iter().filter(|answer| !answer["equal"].is_null()).count();
    let refused = answers
        .iter()
        .filter(|answer| !answer["refused"].is_null())
        .collect::<Vec<_>>();
    for answer in answers {
        match &answer["refused"] {
            Value::Null if answer["unanswered"] == json!([]) => {}
            Value::Null => eprintln!("{}: unanswered {}", answer["table"], answer["unanswered"]),
            message => eprintln!("{}: refused {message}", answer["table"]),
        }
    }
    eprintln!(
        "{} tables: {equal} equal, {} refused, {} wrong",
        answers.len(),
        refused.len(),
        broken.len()
    );
    ensure!(broken.is_empty(), "\n{}", broken.join("\n"));
    ensure!(equal > 0, "no table was read at all");
    Ok(())
}

/// A table that can be read must be equal or refused as unsupported, by its name; a broken one may fail in any way.
fn is_right(answer: &Value) -> bool {
    let name = answer["table"]
        .as_str()
        .and_then(|path| path.rsplit('/').next())
        .unwrap_or_default();
    let by_name = answer["refused"].as_str().is_some_and(|message| message.contains(name));
    let is_damaged = DAMAGED
        .iter()
        .any(|table| answer["table"].as_str().is_some_and(|path| path.contains(table)));
    let is_whole = answer["expect"] == json!("rows") && !is_damaged;
    let refused = by_name && (answer["unsupported"] == json!(true) || !is_whole);
    let may_be_read = ["rows", "rows_or_error", "plan_only"]
        .iter()
        .any(|expect| answer["expect"] == json!(expect));
    refused || (may_be_read && answer["equal"] == json!(true))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let copied = Command::new("cp")
        .args(["-r", "--no-preserve=mode"])
        .arg(from.join("."))
        .arg(to)
        .status()?;
    ensure!(copied.success(), "cannot copy {}", from.display());
    Ok(())
}
