//! A real Iceberg REST catalog that lends credentials for the files of its tables.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Minio, Process, free_port, part, workspace};

/// Iceberg's reference REST catalog over tables in `s3://lake/lent`, with temporary credentials of the S3 server for the
/// folder of each table. Nothing else opens the door to that server, and nothing for longer than they last.
pub struct LendingCatalog {
    /// URL of the catalog.
    pub uri: String,
    process: Process,
    _folder: TempDir,
}

impl LendingCatalog {
    /// Credentials that last `life`.
    pub async fn start(minio: &Minio, life: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (port, door) = (free_port()?, free_port()?);
        let mut command = Command::new("java");
        command
            .arg("-Djdk.httpclient.allowRestrictedHeaders=host")
            .arg("-cp")
            .arg(part("iceberg-rest")?.join("*"))
            .arg(workspace().join("tests/harness/rest_catalog/LendingCatalog.java"));
        command.args([port.to_string(), door.to_string(), life.as_secs_f64().to_string()]);
        command.args([&minio.endpoint, Minio::ACCESS_KEY, Minio::SECRET_KEY]);
        command.arg("warehouse=s3://lake/lent").arg(format!(
            "uri=jdbc:sqlite:{}",
            folder.path().join("catalog.db").display()
        ));
        command.args([
            "jdbc.schema-version=V1",
            "io-impl=org.apache.iceberg.aws.s3.S3FileIO",
            "client.region=us-east-1",
            "s3.path-style-access=true",
        ]);
        command.arg(format!("s3.endpoint={}", minio.endpoint));
        command.arg(format!("s3.access-key-id={}", Minio::ACCESS_KEY));
        command.arg(format!("s3.secret-access-key={}", Minio::SECRET_KEY));
        let mut process = Process::start("lending-catalog", command, folder.path())?;
        process
            .ready(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await?;
        Ok(Self {
            uri: format!("http://127.0.0.1:{port}"),
            process,
            _folder: folder,
        })
    }

    /// The sections of a configuration for this catalog under the name `lent`. They hold no key.
    pub fn section(&self) -> String {
        format!(
            "[catalogs.lent]\ntype = \"iceberg-rest\"\nuri = {:?}\n[[storage]]\nprefix = \"s3://lake\"\nallow_http = true\n",
            self.uri
        )
    }

    /// How often credentials were lent for the table in a folder of that name.
    pub fn lent(&self, table: &str) -> usize {
        let of_table = |line: &&str| line.starts_with("lent s3://") && line.contains(&format!("/{table}"));
        self.process.output().lines().filter(of_table).count()
    }

    /// How many requests went through the door to the S3 server.
    pub fn passed(&self) -> usize {
        self.said("passed ").len()
    }

    /// What it turned away, and why.
    pub fn refused(&self) -> Vec<String> {
        self.said("refused ")
    }

    /// What nobody may show.
    pub fn secrets(&self) -> Vec<String> {
        self.said("secret ")
    }

    fn said(&self, what: &str) -> Vec<String> {
        let output = self.process.output();
        let said = output.lines().filter_map(|line| line.strip_prefix(what));
        said.map(str::to_owned).collect()
    }
}
