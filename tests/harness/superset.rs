//! A real Apache Superset.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Process, free_port, part};

/// It imports half of Python before it listens, which takes a busy machine more than a minute.
const START: Duration = Duration::from_secs(240);

/// Apache Superset with a fresh database of its own, whose user `admin` has the password `admin`.
pub struct Superset {
    /// URL of its REST API.
    pub uri: String,
    _process: Process,
    _folder: TempDir,
}

impl Superset {
    /// Starts it and waits until it answers.
    pub async fn start() -> Result<Self> {
        let (folder, part) = (tempfile::tempdir()?, part("superset")?);
        std::fs::copy(part.join("home/superset.db"), folder.path().join("superset.db"))?;
        let port = free_port()?;
        let mut command = Command::new(part.join("venv/bin/superset"));
        command
            .args(["run", "-h", "127.0.0.1", "-p", &port.to_string()])
            .env("FLASK_APP", "superset")
            .env("SUPERSET_HOME", folder.path())
            .env("SUPERSET_CONFIG_PATH", part.join("superset_config.py"));
        let mut process = Process::start("superset", command, folder.path())?;
        process
            .ready_within(START, async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await?;
        Ok(Self {
            uri: format!("http://127.0.0.1:{port}"),
            _process: process,
            _folder: folder,
        })
    }
}
