//! Logs: one line per event on the error stream. What is logged is decided where it happens.

pub mod metrics;

use std::io::IsTerminal;

use tonic::codegen::http::Request;
use tonic::metadata::MetadataMap;
use tracing::{Span, field, info_span};
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

/// In which a client says what its queries are for: texts, separated by commas.
const QUERY_TAGS: &str = "x-lakewing-query-tags";
/// Longer texts of a client's headers are cut.
const HEADER_CHARS_MAX: usize = 128;

/// The frame of everything that is logged during one call: which user it is, once that is known, and what the client
/// says of itself, its trace and its purpose. Of all headers no others are looked at: the rest may be secrets.
pub(crate) fn call_span(request: &Request<()>) -> Span {
    let call = request.uri().path().rsplit('/').next().unwrap_or_default();
    let span = info_span!(
        "call",
        rpc = call,
        user = field::Empty,
        agent = field::Empty,
        traceparent = field::Empty,
        tags = field::Empty
    );
    for (field, header) in [
        ("agent", "user-agent"),
        ("traceparent", "traceparent"),
        ("tags", QUERY_TAGS),
    ] {
        if let Some(text) = request.headers().get(header).and_then(|value| value.to_str().ok()) {
            span.record(field, cut(text));
        }
    }
    span
}

/// What a call says its query is for.
pub(crate) fn query_tags(headers: &MetadataMap) -> Vec<String> {
    let text = headers.get(QUERY_TAGS).and_then(|value| value.to_str().ok());
    let text = text.map(cut).unwrap_or_default();
    let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    tags.map(str::to_owned).collect()
}

fn cut(text: &str) -> String {
    text.chars().take(HEADER_CHARS_MAX).collect()
}
