//! Logs: one line per event on the error stream. What is logged is decided where it happens.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// What is shown when nothing else is asked for: warnings of everyone, and our own news.
pub const FILTER_DEFAULT: &str = "warn,lakewing=info,server=info,executor=info,catalog=info";

/// Shows events that pass `filter` (`level` or `target=level`, joined by commas) from here on. Once per process.
pub fn start(filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter).map_err(|error| Error::config("--log", error.to_string()))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| Error::config("--log", error.to_string()))
}
