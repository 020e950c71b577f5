//! Certificates: of the server, read again whenever their files change, and the authority that vouches for clients.
//! Knows nothing of who connects.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, ClientTlsConfig, Identity};
use tracing::{debug, info, warn};

use crate::error::{Error, Result};

/// How often the files are looked at.
const RELOAD_INTERVAL: Duration = Duration::from_secs(2);
/// A client that takes longer to agree on a key is no client.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may be agreeing on a key at once; more wait to be accepted.
const HANDSHAKES_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The server's certificate, and whose certificates it believes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// PEM file of the certificate and the chain that vouches for it; changes count for new connections.
    pub certificate: PathBuf,
    /// PEM file of the certificate's private key; changes count for new connections.
    pub key: PathBuf,
    /// PEM file of the authorities that vouch for clients' certificates. Without it clients are not asked for one.
    #[serde(default)]
    pub client_authority: Option<PathBuf>,
    /// Refuses connections without a client's certificate; default false: clients may show one.
    #[serde(default)]
    pub client_certificate_required: bool,
}

impl Config {
    /// Checks what the types cannot. Does no I/O.
    pub fn validate(&self) -> Result<()> {
        if self.client_certificate_required && self.client_authority.is_none() {
            let detail = "needs tls.client_authority: nobody could show a certificate that is believed";
            return Err(Error::config("tls.client_certificate_required", detail));
        }
        Ok(())
    }
}

/// What the files held when they were last read.
#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authority: Option<Vec<u8>>,
}

/// Makes encrypted connections of open ones.
pub(crate) struct Acceptor {
    config: Config,
    current: RwLock<Arc<ServerConfig>>,
}

impl Acceptor {
    /// Reads all files. Fails with the key that names one which cannot be read or used.
    pub(crate) fn new(config: &Config) -> Result<Arc<Self>> {
        let current = server_config(config, &Files::read(config)?)?;
        Ok(Arc::new(Self {
            config: config.clone(),
            current: RwLock::new(current),
        }))
    }

    /// Reads the files again whenever they change, as long as it is polled. What cannot be used changes nothing.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut known = Files::read(&self.config).ok();
        let mut complained = None;
        loop {
            tokio::time::sleep(RELOAD_INTERVAL).await;
            let files = match Files::read(&self.config) {
                Ok(files) if known.as_ref() == Some(&files) => continue,
                Ok(files) => files,
                Err(error) => {
                    complain(&mut complained, &error);
                    continue;
                }
            };
            match server_config(&self.config, &files) {
                Ok(config) => {
                    *self.current.write().unwrap_or_else(PoisonError::into_inner) = config;
                    known = Some(files);
                    complained = None;
                    info!("new connections get the new certificate");
                }
                // A certificate and a key of which only one is written yet do not fit together.
                Err(error) => complain(&mut complained, &error),
            }
        }
    }

    /// The connections that come in, once they are encrypted. Those that fail at it are left out.
    pub(crate) fn accept(
        self: Arc<Self>,
        incoming: TcpIncoming,
    ) -> impl Stream<Item = io::Result<TlsStream<TcpStream>>> {
        let handshakes = incoming.map_ok(move |connection| {
            let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
            async move {
                let peer = connection.peer_addr().ok();
                let handshake = TlsAcceptor::from(config).accept(connection);
                match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
                    Ok(Ok(encrypted)) => Some(encrypted),
                    Ok(Err(error)) => {
                        debug!(?peer, %error, "a connection was not encrypted");
                        None
                    }
                    Err(_) => None,
                }
            }
        });
        let handshakes = handshakes.map(|item| async {
            match item {
                Ok(handshake) => handshake.await.map(Ok),
                Err(error) => Some(Err(error)),
            }
        });
        handshakes
            .buffer_unordered(HANDSHAKES_MAX)
            .filter_map(std::future::ready)
    }
}

impl Files {
    fn read(config: &Config) -> Result<Self> {
        let authority = config.client_authority.as_ref();
        Ok(Self {
            certificate: read("tls.certificate", &config.certificate)?,
            key: read("tls.key", &config.key)?,
            client_authority: authority.map(|file| read("tls.client_authority", file)).transpose()?,
        })
    }
}

fn server_config(config: &Config, files: &Files) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |key: &'static str| move |detail: String| Error::config(key, detail);
    let chain = certificates(&files.certificate).map_err(unusable("tls.certificate"))?;
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|error| Error::config("tls.key", format!("holds no private key: {error}")))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config("tls", error.to_string()))?;
    let builder = match &files.client_authority {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let unusable = |detail: String| Error::config("tls.client_authority", detail);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(authority).map_err(unusable)? {
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = match config.client_certificate_required {
                true => verifier,
                false => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(error.to_string()))?)
        }
    };
    let unusable = |error| Error::config("tls", format!("the certificate and its key cannot be used: {error}"));
    let mut built = builder.with_single_cert(chain, key).map_err(unusable)?;
    built.alpn_protocols.push(b"h2".to_vec());
    Ok(Arc::new(built))
}

fn certificates(pem: &[u8]) -> std::result::Result<Vec<CertificateDer<'static>>, String> {
    let found: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err("holds no certificate".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(format!("holds a damaged certificate: {error}")),
    }
}

/// Logs why the certificate stays as it is, once for each reason.
fn complain(complained: &mut Option<String>, error: &Error) {
    let reason = error.to_string();
    if complained.as_ref() != Some(&reason) {
        warn!(%reason, "the certificate stays as it is");
        *complained = Some(reason);
    }
}

/// Trust for a client: the certificate authority in the PEM file `authority`, else those of the operating system; and
/// its own certificate and key, where it has them.
pub(crate) fn client(authority: Option<&Path>, own: Option<&(PathBuf, PathBuf)>) -> Result<ClientTlsConfig> {
    let config = match authority {
        Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--ca", file)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    };
    match own {
        Some((certificate, key)) => {
            let identity = Identity::from_pem(read("--certificate", certificate)?, read("--key", key)?);
            Ok(config.identity(identity))
        }
        None => Ok(config),
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>> {
    let unreadable = |error: io::Error| Error::config(key, format!("cannot read {}: {error}", file.display()));
    if std::fs::metadata(file).map_err(unreadable)?.len() > FILE_BYTES_MAX {
        return Err(Error::config(key, format!("{} is too large", file.display())));
    }
    std::fs::read(file).map_err(unreadable)
}
