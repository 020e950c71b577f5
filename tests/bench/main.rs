//! Measurements of the release build, each a table of absolute figures and, with `--json`, one JSON object as last line.
//!
//! `cargo run --release -p tests --bin bench -- startup [--json]`

#![allow(clippy::print_stdout, reason = "a measurement prints its table")]

mod startup;

use anyhow::{Result, bail};
use harness::build_lakewing;

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let (flags, names): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with("--"));
    let as_json = flags.contains(&"--json");
    build_lakewing()?;
    match names[..] {
        ["startup"] => startup::run(as_json).await,
        _ => bail!("usage: bench startup [--json]"),
    }
}
