//! TPC-H data: written by Lakewing as lake tables, and by an independent program as plain Parquet files.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{lakewing, part};

/// `lakewing demo --exit`: makes the tables `lake.tpch.*` and `delta.tpch.*` and returns what it printed.
pub async fn demo(scale: f64, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(lakewing()?);
    command
        .args([
            "demo",
            "--exit",
            "--listen",
            "127.0.0.1:0",
            "--scale",
            &scale.to_string(),
        ])
        .args(arguments);
    run(command).await
}

/// The eight TPC-H tables as `folder/NAME.parquet`.
pub async fn tpch_parquet(scale: f64, folder: &Path) -> Result<()> {
    let mut command = Command::new(part("python")?.join("venv/bin/tpchgen-cli"));
    command.args(["parquet", "-s", &scale.to_string(), "-o"]).arg(folder);
    run(command).await?;
    Ok(())
}

async fn run(command: Command) -> Result<String> {
    let what = format!("{command:?}");
    let output = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| what.clone())?;
    let printed = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(
        output.status.success(),
        "{what} ended with {}: {printed}",
        output.status
    );
    Ok(printed)
}
