//! A real PostgreSQL server.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Process, free_port, part};

/// Any account but root, which PostgreSQL refuses to run as.
const NOBODY: u32 = 65534;

/// PostgreSQL with one empty database and a superuser who needs a password.
pub struct Postgres {
    /// `user:password@host:port/database`, to be put behind a driver's scheme.
    pub authority: String,
    _process: Process,
    _folder: TempDir,
}

impl Postgres {
    /// Starts it and waits until it answers.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let is_root = std::fs::metadata("/proc/self")?.uid() == 0;
        // The part may lie where only root may look, so the programs are copied.
        let programs = folder.path().join("postgres");
        let copied = Command::new("cp")
            .arg("-rL")
            .arg(part("postgres")?)
            .arg(&programs)
            .status()?;
        ensure!(copied.success(), "cannot copy PostgreSQL to {}", programs.display());
        if is_root {
            std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755))?;
            chown(&programs, Some(NOBODY), Some(NOBODY))?;
        }
        let program = |name: &str| {
            let mut command = Command::new(programs.join("bin").join(name));
            command.arg("-D").arg(programs.join("data")).current_dir(&programs);
            if is_root {
                command.uid(NOBODY).gid(NOBODY);
            }
            command
        };
        initialise(program("initdb"), folder.path()).await?;

        let port = free_port()?;
        let mut command = program("postgres");
        command
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "fsync=off", "-k"])
            .arg(&programs);
        let mut process = Process::start("postgres", command, folder.path())?;
        process
            .ready(async || TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await?;
        Ok(Self {
            authority: format!("lake:lake@127.0.0.1:{port}/postgres"),
            _process: process,
            _folder: folder,
        })
    }
}

async fn initialise(mut initdb: Command, folder: &Path) -> Result<()> {
    let password = folder.join("password");
    std::fs::write(&password, "lake")?;
    initdb.args([
        "--username=lake",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",
    ]);
    initdb.arg("--pwfile").arg(password);
    let output = tokio::process::Command::from(initdb).output().await?;
    ensure!(
        output.status.success(),
        "initdb failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
