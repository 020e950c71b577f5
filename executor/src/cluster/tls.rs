//! Certificates of the processes of one cluster. Each shows its own and asks for that of the other side: whoever has none
//! of the cluster's authority can neither give tasks nor pose as an executor.

use std::fs;
use std::path::Path;

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::config::TlsConfig;
use crate::error::{Error, Result};

/// How a process connects to executors.
///
/// # Errors
/// [`Error::Config`] where a file cannot be read.
pub(crate) fn client(config: &TlsConfig) -> Result<ClientTlsConfig> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(authority(config)?)
        .identity(identity(config)?);
    Ok(match &config.name {
        Some(name) => tls.domain_name(name),
        None => tls,
    })
}

/// How an executor accepts connections.
///
/// # Errors
/// [`Error::Config`] where a file cannot be read.
pub(crate) fn server(config: &TlsConfig) -> Result<ServerTlsConfig> {
    Ok(ServerTlsConfig::new()
        .identity(identity(config)?)
        .client_ca_root(authority(config)?))
}

fn authority(config: &TlsConfig) -> Result<Certificate> {
    Ok(Certificate::from_pem(read("tls.authority", &config.authority)?))
}

fn identity(config: &TlsConfig) -> Result<Identity> {
    let certificate = read("tls.certificate", &config.certificate)?;
    Ok(Identity::from_pem(certificate, read("tls.key", &config.key)?))
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| Error::Config {
        key: key.to_owned(),
        detail: format!("cannot read {}: {error}", file.display()),
    })
}
