//! Results that clients fetch from executors themselves.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

use super::invalid;
use crate::error::Result;

/// Where an executor hands out results, to whoever shows the ticket of one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultsConfig {
    /// Where to listen, such as `0.0.0.0:31418`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// The host that clients reach the executor at; default the one that the server reaches it at.
    #[serde(default)]
    pub host: Option<String>,
    /// PEM file of the certificate that clients are shown, and the chain that vouches for it. Without one connections are
    /// plain, and a server with TLS names none of them.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of the certificate's private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
}

impl ResultsConfig {
    pub(super) fn validate(&self) -> Result<()> {
        if self.certificate.is_some() != self.key.is_some() {
            return invalid("results", "certificate and key belong together");
        }
        match self.host.as_deref() {
            Some(host) if url::Host::parse(host).is_err() => invalid(
                "results.host",
                &format!("must be a name or an address without a port, not {host}"),
            ),
            _ => Ok(()),
        }
    }
}
