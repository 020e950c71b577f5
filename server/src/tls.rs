//! Certificates: the files the configuration names, as tonic wants them. Knows nothing of who connects.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use crate::error::{Error, Result};

/// The server's certificate.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// PEM file of the certificate and the chain that vouches for it.
    pub certificate: PathBuf,
    /// PEM file of the certificate's private key.
    pub key: PathBuf,
}

impl Config {
    /// Reads both files. Fails with the key that names a file which cannot be read.
    pub(crate) fn load(&self) -> Result<ServerTlsConfig> {
        let certificate = read("tls.certificate", &self.certificate)?;
        let key = read("tls.key", &self.key)?;
        Ok(ServerTlsConfig::new().identity(Identity::from_pem(certificate, key)))
    }
}

/// Trust for a client: the certificate authority in the PEM file `authority`, else those of the operating system.
pub(crate) fn client(authority: Option<&Path>) -> Result<ClientTlsConfig> {
    match authority {
        Some(file) => {
            let authority = Certificate::from_pem(read("--ca", file)?);
            Ok(ClientTlsConfig::new().ca_certificate(authority))
        }
        None => Ok(ClientTlsConfig::new().with_native_roots()),
    }
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| Error::config(key, format!("cannot read {}: {error}", file.display())))
}
