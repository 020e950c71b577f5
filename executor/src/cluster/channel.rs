//! gRPC to executors: one cached connection per address, with a connect timeout, probes while idle, and the version of
//! this build on every request. Knows nothing of what is sent.

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use moka::future::Cache;
use tonic::body::Body;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Status};
use tower::ServiceExt;
use tower::util::MapRequest;
use url::Url;

use super::tls;
use crate::config::{Links, TlsConfig};
use crate::error::{Error, Result};

/// Plans travel only between equal builds: there is no compatibility of plans across versions.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The header that carries [`VERSION`].
pub(crate) const VERSION_HEADER: HeaderName = HeaderName::from_static("x-lakewing-version");

/// Bytes one stream may have in flight. All streams to one executor share a connection: a reader that pauses holds this
/// much of [`CONNECTION_WINDOW_BYTES`], and a few slow clients must not use it up for everyone.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
/// The longest header list one side accepts. Errors travel in trailers and may quote a statement.
pub(crate) const HEADERS_BYTES_MAX: u32 = 256 << 10;
/// Streams of one connection that may be given up at once, by cancelled queries, before the connection is suspected of
/// an attack and cut for everyone.
pub(crate) const RESET_STREAMS_MAX: usize = 4096;

/// A connection that reconnects by itself and names its version.
pub(crate) type ExecutorChannel = MapRequest<Channel, fn(http::Request<Body>) -> http::Request<Body>>;

/// Cached connections by address.
#[derive(Debug)]
pub(crate) struct Channels {
    links: Links,
    tls: Option<ClientTlsConfig>,
    cache: Cache<Url, Channel>,
}

impl Channels {
    /// Keeps connections to at most `peers_max` addresses.
    ///
    /// # Errors
    /// [`Error::Config`] where a file of `tls` cannot be read.
    pub(crate) fn new(links: Links, tls: Option<&TlsConfig>, peers_max: usize) -> Result<Arc<Self>> {
        Ok(Arc::new(Self {
            links,
            tls: tls.map(tls::client).transpose()?,
            cache: Cache::new(peers_max as u64),
        }))
    }

    /// The connection to `address`, made at its first use. A lost connection is made again at its next use.
    ///
    /// # Errors
    /// [`Error::Unreachable`] within the connect timeout.
    pub(crate) async fn channel(&self, address: &Url) -> Result<ExecutorChannel> {
        let channel = self
            .cache
            .try_get_with_by_ref(address, connect(address, self.links, self.tls.clone()))
            .await;
        match channel {
            Ok(channel) => Ok(channel.map_request(with_version as fn(_) -> _)),
            Err(reason) => Err(unreachable(address, reason.to_string())),
        }
    }
}

impl Channels {
    /// Drops the connection to `address`: the next use makes a new one. Streams on the old one live on.
    pub(crate) async fn forget(&self, address: &Url) {
        self.cache.invalidate(address).await;
    }
}

/// What a gRPC status says about the executor. Only transports and doors make statuses: a task's own errors arrive as
/// what they are.
pub(crate) fn of_status(address: &Url, status: &Status) -> Option<Error> {
    let made_here = status.source().is_some();
    match status.code() {
        Code::FailedPrecondition => Some(refused(address, status.message())),
        Code::Unimplemented => Some(refused(address, "what listens there is no executor")),
        Code::Aborted => Some(Error::Draining {
            address: plain(address),
        }),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => {
            Some(unreachable(address, reason(status)))
        }
        _ if made_here => Some(unreachable(address, reason(status))),
        _ => None,
    }
}

fn reason(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), innermost)
}

/// An executor that did not answer; `reason` says how.
pub(crate) fn unreachable(address: &Url, reason: impl Into<String>) -> Error {
    Error::Unreachable {
        address: plain(address),
        reason: reason.into(),
    }
}

/// An executor that answered that it does not work for us.
fn refused(address: &Url, reason: impl Into<String>) -> Error {
    Error::Refused {
        address: plain(address),
        reason: reason.into(),
    }
}

/// The message of the deepest cause: the transport's own layers say little.
pub(crate) fn innermost(error: &dyn StdError) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

async fn connect(address: &Url, links: Links, tls: Option<ClientTlsConfig>) -> std::result::Result<Channel, String> {
    let mut endpoint = Endpoint::from_shared(address.to_string())
        .map_err(|error| error.to_string())?
        .connect_timeout(links.connect_timeout)
        .http2_keep_alive_interval(links.keep_alive)
        .keep_alive_timeout(links.keep_alive)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .http2_max_concurrent_reset_streams(RESET_STREAMS_MAX)
        .http2_reset_stream_duration(Duration::from_secs(5))
        .http2_max_local_error_reset_streams(None);
    if let Some(tls) = tls {
        endpoint = endpoint.tls_config(tls).map_err(|error| innermost(&error))?;
    }
    match tokio::time::timeout(links.connect_timeout, endpoint.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(innermost(&error)),
        Err(_) => Err(format!("no connection within {:?}", links.connect_timeout)),
    }
}

fn with_version(mut request: http::Request<Body>) -> http::Request<Body> {
    request
        .headers_mut()
        .insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
    request
}

fn plain(address: &Url) -> String {
    address.as_str().trim_end_matches('/').to_owned()
}
