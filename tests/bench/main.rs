//! Measurements of the release build, each a table of absolute figures and, with `--json`, one JSON object as last line.
//!
//! `cargo run --release -p tests --bin bench -- startup|planning|scale [--pods]|flight|scan [--scale N]|distributed [--scale N] [--executors N] [--runs N]|memory [--scale N] [--megabytes N]|write [--scale N]|slow-reader [--megabytes N] [--json]`
//!
//! `--data-dir FOLDER` keeps the TPC-H tables of `scan`, `distributed` and `memory` there, and uses those of an earlier run.

#![allow(clippy::print_stdout, reason = "a measurement prints its table")]

mod distributed;
mod flight;
mod memory;
mod planning;
mod scale;
mod scan;
mod startup;
mod write;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use harness::{build_lakewing, demo};
use tempfile::TempDir;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let as_json = arguments.iter().any(|argument| argument == "--json");
    let given = |flag: &str| {
        let pair = arguments.windows(2).find(|pair| pair[0] == flag);
        pair.map(|pair| pair[1].as_str())
    };
    let number = |flag: &str, default: f64| given(flag).map_or(Ok(default), str::parse);
    let kept = given("--data-dir").map(Path::new);
    build_lakewing()?;
    match arguments.first().map(String::as_str) {
        Some("startup") => startup::run(as_json).await,
        Some("planning") => planning::run(as_json).await,
        Some("scale") => scale::run(arguments.iter().any(|argument| argument == "--pods"), as_json).await,
        Some("flight") => flight::run(as_json).await,
        Some("scan") => scan::run(tables(number("--scale", 1.0)?, kept).await?, as_json).await,
        Some("distributed") => {
            let counts = match given("--executors") {
                None => vec![1, 2, 4],
                Some(count) => vec![count.parse()?],
            };
            let runs = given("--runs").map_or(Ok(3), str::parse)?;
            distributed::run(tables(number("--scale", 1.0)?, kept).await?, (&counts, runs), as_json).await
        }
        Some("memory") => {
            let megabytes = given("--megabytes").map_or(Ok(1024), str::parse)?;
            memory::run(tables(number("--scale", 1.0)?, kept).await?, megabytes, as_json).await
        }
        Some("write") => write::run(number("--scale", 0.1)?, as_json).await,
        Some("slow-reader") => flight::slow_reader(number("--megabytes", 5000.0)?).await,
        _ => bail!(
            "usage: bench startup|planning|scale [--pods]|flight|scan [--scale N]|distributed [--scale N] [--executors N] [--runs N]|memory [--scale N] [--megabytes N]|write [--scale N]|slow-reader [--megabytes N] [--json]"
        ),
    }
}

/// TPC-H tables of a scale, in both formats.
struct Tables {
    scale: f64,
    folder: PathBuf,
    // Deletes them, unless they are kept.
    _temporary: Option<TempDir>,
}

/// The TPC-H tables in `kept`, made where they are not there yet; without it new ones for this run.
async fn tables(scale: f64, kept: Option<&Path>) -> Result<Tables> {
    let temporary = match kept {
        Some(_) => None,
        None => Some(tempfile::tempdir()?),
    };
    let folder = kept.or(temporary.as_ref().map(TempDir::path));
    let folder = folder.context("no folder for the tables")?.to_owned();
    if folder.join("lake").exists() {
        println!("the TPC-H tables in {} are used as they are", folder.display());
    } else {
        println!("making TPC-H tables of scale {scale}");
        let path = folder.to_str().context("a path that is no text")?;
        demo(scale, &["--data-dir", path]).await?;
    }
    Ok(Tables {
        scale,
        folder,
        _temporary: temporary,
    })
}
