//! Logs: one line per event on the error stream. What is logged is decided where it happens.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Result};

/// What a service shows: warnings of everyone, and what it does itself.
pub(crate) const FILTER_OF_SERVICES: &str = "warn,server=info,executor=info,catalog=info";
/// What a command shows that prints its own answer.
pub(crate) const FILTER_OF_TOOLS: &str = "warn";

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
