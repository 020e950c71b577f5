//! Unmodified drivers and tools: they connect, query, bind parameters and browse.

mod adbc;
mod direct;
mod jdbc;
mod odbc;
mod parts;
mod typed;

use anyhow::{Context, Result};
use harness::{Lake, demo};
use serde_json::Value;
use tempfile::TempDir;

/// Rows of TPC-H `lineitem` at scale 0.01, as the specification's generator makes them.
const LINEITEM_ROWS: u64 = 60_175;

/// The demo's tables in both formats, and `delta.typed.every`.
async fn demo_lake() -> Result<(Lake, TempDir)> {
    let data = tempfile::tempdir()?;
    demo(
        0.01,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    typed::write(&data.path().join("delta/typed/every"))?;
    Ok((Lake::embedded().data(data.path()).start().await?, data))
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().with_context(|| format!("no list: {value}"))
}
