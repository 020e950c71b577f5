//! A real S3 server.

mod web_identity;

use std::process::Command;

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

pub use self::web_identity::{WebIdentity, certificate};
use crate::{Process, free_port, part};

/// MinIO with one empty bucket, `lake`.
pub struct Minio {
    /// URL of the server.
    pub endpoint: String,
    _process: Process,
    _folder: TempDir,
}

impl Minio {
    /// The account that may do everything.
    pub const ACCESS_KEY: &str = "lakewing";
    /// Its password.
    pub const SECRET_KEY: &str = "lakewing-secret";

    /// Starts it and waits until it answers.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data");
        // A folder of the data drive is a bucket.
        std::fs::create_dir_all(data.join("lake"))?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let mut command = Command::new(part("minio")?.join("minio"));
        command.args(["server", "--quiet", "--address", &address]).arg(data);
        command
            .env("MINIO_ROOT_USER", Self::ACCESS_KEY)
            .env("MINIO_ROOT_PASSWORD", Self::SECRET_KEY);
        command.env("MINIO_BROWSER", "off").env("HOME", folder.path());
        let mut process = Process::start("minio", command, folder.path())?;
        process
            .ready(async || TcpStream::connect(&address).await.is_ok())
            .await?;
        Ok(Self {
            endpoint: format!("http://{address}"),
            _process: process,
            _folder: folder,
        })
    }

    /// The `[[storage]]` section that reaches it.
    pub fn storage(&self) -> String {
        let Self { endpoint, .. } = self;
        format!(
            "[[storage]]\nprefix = \"s3://lake\"\nendpoint = {endpoint:?}\nregion = \"us-east-1\"\n\
             access_key_id = {:?}\nsecret_access_key = {:?}\nallow_http = true\n",
            Self::ACCESS_KEY,
            Self::SECRET_KEY
        )
    }
}
