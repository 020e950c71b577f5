//! Measurements of the release build, each a table of absolute figures and, with `--json`, one JSON object as last line.
//!
//! `cargo run --release -p tests --bin bench -- startup [--json]`

#![allow(clippy::print_stdout, reason = "a measurement prints its table")]

mod startup;

use std::process::Command;

use anyhow::{Result, bail, ensure};
use harness::workspace;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with("--"));
    let as_json = flags.contains(&"--json");
    // The binary that is measured is the one of this source.
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--release", "--quiet", "--bin", "lakewing"])
        .current_dir(workspace());
    let built = cargo.status()?;
    ensure!(built.success(), "lakewing does not build");
    match names[..] {
        ["startup"] => startup::run(as_json).await,
        _ => bail!("usage: bench startup [--json]"),
    }
}
