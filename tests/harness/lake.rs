//! `Lake`: one Lakewing in three sizes, started from its binary with a configuration file of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use arrow_flight::error::FlightError;
use tempfile::TempDir;
use tonic::Code;

use crate::{Client, Process, lakewing};

/// A running server, and its executors where they are processes. Dropping it ends all of them.
pub struct Lake {
    /// The server process.
    pub server: Process,
    /// The executor processes.
    pub executors: Vec<Process>,
    /// From the start of the server process to its first answer over Flight SQL.
    pub ready_after: Duration,
    address: SocketAddr,
    _folder: TempDir,
}

/// Where a [`Lake`] runs its plans.
enum Size {
    Embedded,
    InProcess(usize),
    /// Executors to start, and addresses of further ones.
    Processes(usize, Vec<SocketAddr>),
}

impl Lake {
    /// One process, plain DataFusion.
    pub fn embedded() -> LakeBuilder {
        LakeBuilder::new(Size::Embedded)
    }

    /// One process that holds `count` executors.
    pub fn executors(count: usize) -> LakeBuilder {
        LakeBuilder::new(Size::InProcess(count))
    }

    /// A server and `count` executor processes.
    pub fn processes(count: usize) -> LakeBuilder {
        LakeBuilder::new(Size::Processes(count, Vec::new()))
    }

    /// A server whose only executor is expected at `address`.
    pub fn with_executor(address: SocketAddr) -> LakeBuilder {
        LakeBuilder::new(Size::Processes(0, vec![address]))
    }

    /// Where Flight SQL listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new connection.
    pub async fn client(&self) -> Result<Client> {
        Client::connect(self.address).await
    }
}

/// What a [`Lake`] shall be.
pub struct LakeBuilder {
    size: Size,
    settings: String,
    sections: String,
    executor: &'static str,
    data_folder: Option<PathBuf>,
}

impl LakeBuilder {
    fn new(size: Size) -> Self {
        Self {
            size,
            settings: String::new(),
            sections: String::new(),
            // Small scans are spread too: the tables of tests are small.
            executor: "scan_bytes_per_partition = 65536",
            data_folder: None,
        }
    }

    /// Adds lines to the head of the configuration, such as `default_catalog = "delta"`.
    pub fn setting(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self.settings.push('\n');
        self
    }

    /// Adds sections to the configuration, such as `[catalogs.x]`; executor processes read them too.
    pub fn section(mut self, text: &str) -> Self {
        self.sections.push_str(text);
        self.sections.push('\n');
        self
    }

    /// Cuts every data file into as many byte ranges as there are partitions.
    pub fn split_files(mut self) -> Self {
        self.executor = "scan_bytes_per_partition = 1\ntarget_partitions = 7";
        self
    }

    /// Uses the embedded lake of this folder; without it, the lake is new and empty.
    pub fn data(mut self, folder: &Path) -> Self {
        self.data_folder = Some(folder.to_owned());
        self
    }

    /// Starts everything and waits until it answers.
    pub async fn start(self) -> Result<Lake> {
        let Self {
            size,
            settings,
            sections,
            executor,
            data_folder,
        } = self;
        let folder = tempfile::tempdir()?;
        let mut executors = Vec::new();
        let mode = match size {
            Size::Embedded => "{ type = \"embedded\" }".to_owned(),
            Size::InProcess(count) => format!("{{ type = \"in-process\", count = {count} }}"),
            Size::Processes(count, mut addresses) => {
                for index in 0..count {
                    let (executor, address) = start_executor(index, &sections, folder.path()).await?;
                    executors.push(executor);
                    addresses.push(address);
                }
                let urls = addresses
                    .iter()
                    .map(|address| format!("http://{address}"))
                    .collect::<Vec<_>>();
                format!("{{ type = \"static\", addresses = {urls:?} }}")
            }
        };
        let data = data_folder.unwrap_or_else(|| folder.path().join("data"));
        let config = folder.path().join("server.toml");
        let executor = format!("[executor]\n{executor}\nmode = {mode}\n");
        std::fs::write(
            &config,
            format!("data_dir = {data:?}\n{settings}\n{sections}\n{executor}"),
        )?;
        let start = Instant::now();
        let mut server = Process::start("server", role("serve", &config)?, folder.path())?;
        let address = server.prints("ready: grpc://").await?.parse()?;
        server.ready(async || answers(address).await).await?;
        Ok(Lake {
            server,
            executors,
            ready_after: start.elapsed(),
            address,
            _folder: folder,
        })
    }
}

async fn start_executor(index: usize, sections: &str, folder: &Path) -> Result<(Process, SocketAddr)> {
    let config = folder.join("executor.toml");
    std::fs::write(&config, sections)?;
    let mut executor = Process::start(&format!("executor-{index}"), role("executor", &config)?, folder)?;
    let address = executor.prints("ready: executor on ").await?.parse()?;
    Ok((executor, address))
}

fn role(role: &str, config: &Path) -> Result<Command> {
    let mut command = Command::new(lakewing()?);
    command
        .args([role, "--log", "warn", "--listen", "127.0.0.1:0", "--config"])
        .arg(config);
    Ok(command)
}

/// Whether a Flight SQL call gets an answer, be it a refusal.
async fn answers(address: SocketAddr) -> bool {
    let Ok(mut client) = Client::connect(address).await else {
        return false;
    };
    match client.raw().get_table_types().await {
        Err(FlightError::Tonic(status)) => status.code() != Code::Unavailable,
        answer => answer.is_ok(),
    }
}
