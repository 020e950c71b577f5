//! A real Iceberg REST catalog.

mod lending;

use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Minio, Process, free_port, part, workspace};

pub use lending::LendingCatalog;

/// Iceberg's reference REST catalog over tables in `s3://lake/rest`; it answers only with a token that it issued for
/// [`RestCatalog::CREDENTIAL`].
pub struct RestCatalog {
    /// URL of the catalog.
    pub uri: String,
    _process: Process,
    _folder: TempDir,
}

impl RestCatalog {
    /// `id:secret` of the one client that it knows.
    pub const CREDENTIAL: &str = "lakewing:rest-secret";

    /// The section of a configuration for this catalog under the name `rest`.
    pub fn section(&self) -> String {
        format!(
            "[catalogs.rest]\ntype = \"iceberg-rest\"\nuri = {:?}\ncredential = {:?}\n",
            self.uri,
            Self::CREDENTIAL
        )
    }

    /// Starts it and waits until it answers.
    pub async fn start(minio: &Minio) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        let (id, secret) = Self::CREDENTIAL.split_once(':').unwrap_or_default();
        let mut command = Command::new("java");
        command
            .arg("-cp")
            .arg(part("iceberg-rest")?.join("*"))
            .arg(workspace().join("tests/harness/rest_catalog/RestCatalog.java"));
        command.args([&port.to_string(), id, secret, "warehouse=s3://lake/rest"]);
        command.arg(format!(
            "uri=jdbc:sqlite:{}",
            folder.path().join("catalog.db").display()
        ));
        command.args([
            "jdbc.schema-version=V1",
            "io-impl=org.apache.iceberg.aws.s3.S3FileIO",
            "client.region=us-east-1",
        ]);
        command
            .arg(format!("s3.endpoint={}", minio.endpoint))
            .arg("s3.path-style-access=true");
        command.arg(format!("s3.access-key-id={}", Minio::ACCESS_KEY));
        command.arg(format!("s3.secret-access-key={}", Minio::SECRET_KEY));
        let mut process = Process::start("rest-catalog", command, folder.path())?;
        process
            .ready(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await?;
        Ok(Self {
            uri: format!("http://127.0.0.1:{port}"),
            _process: process,
            _folder: folder,
        })
    }
}
