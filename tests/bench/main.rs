//! Measurements of the release build, each a table of absolute figures and, with `--json`, one JSON object as last line.
//!
//! `cargo run --release -p tests --bin bench -- startup|planning|scale [--pods]|flight|scan [--scale N]|distributed [--scale N]|write [--scale N]|slow-reader [--megabytes N] [--json]`

#![allow(clippy::print_stdout, reason = "a measurement prints its table")]

mod distributed;
mod flight;
mod planning;
mod scale;
mod scan;
mod startup;
mod write;

use anyhow::{Context, Result, bail};
use harness::{build_lakewing, demo};
use tempfile::TempDir;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let number = |flag: &str, default: f64| {
        let given = arguments.windows(2).find(|pair| pair[0] == flag);
        given.map_or(Ok(default), |pair| pair[1].parse())
    };
    build_lakewing()?;
    match arguments.first().map(String::as_str) {
        Some("startup") => startup::run(as_json).await,
        Some("planning") => planning::run(as_json).await,
        Some("scale") => scale::run(arguments.iter().any(|argument| argument == "--pods"), as_json).await,
        Some("flight") => flight::run(as_json).await,
        Some("scan") => scan::run(number("--scale", 1.0)?, as_json).await,
        Some("distributed") => distributed::run(number("--scale", 1.0)?, as_json).await,
        Some("write") => write::run(number("--scale", 0.1)?, as_json).await,
        Some("slow-reader") => flight::slow_reader(number("--megabytes", 5000.0)?).await,
        _ => bail!(
            "usage: bench startup|planning|scale [--pods]|flight|scan [--scale N]|distributed [--scale N]|write [--scale N]|slow-reader [--megabytes N] [--json]"
        ),
    }
}

/// New TPC-H tables of that scale.
async fn tables(scale: f64) -> Result<TempDir> {
    let data = tempfile::tempdir()?;
    println!("making TPC-H tables of scale {scale}");
    demo(
        scale,
        &["--data-dir", data.path().to_str().context("a path that is no text")?],
    )
    .await?;
    Ok(data)
}
