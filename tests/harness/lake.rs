//! `Lake`: one Lakewing in three sizes, started from its binary with a configuration file of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use arrow_flight::error::FlightError;
use tempfile::TempDir;
use tonic::Code;

use crate::{Client, MemoryGroup, Process, Proxy, lakewing};

/// What processes log unless a test asks for more.
const LOG: &str = "warn";

/// The tables of tests are small: their scans are spread all the same, and their joins shuffled.
const SMALL_SCANS_AND_BROADCASTS: &str = "scan_bytes_per_partition = 65536\nbroadcast_bytes_max = 1048576";

/// A running server, and its executors where they are processes. Dropping it ends all of them.
pub struct Lake {
    /// The server process.
    pub server: Process,
    /// The executor processes.
    pub executors: Vec<Process>,
    /// What stands in front of each of them, where [`LakeBuilder::proxied`] asked for it.
    pub proxies: Vec<Proxy>,
    /// From the start of the server process to its first answer over Flight SQL.
    pub ready_after: Duration,
    address: SocketAddr,
    executor_addresses: Vec<SocketAddr>,
    folder: TempDir,
}

/// Where a [`Lake`] runs its plans.
enum Size {
    Embedded,
    InProcess(usize),
    /// Executors to start, and addresses of further ones.
    Processes(usize, Vec<SocketAddr>),
    /// Executors that the server starts by itself, in sets of this configuration.
    Started(Option<&'static str>, String),
    /// Executors in this mode and in sets of this configuration.
    Mode(String, String),
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

    /// A server that starts executor processes as it needs them: `sets` are sections `[[executor.sets]]`.
    pub fn started(sets: &str) -> LakeBuilder {
        LakeBuilder::new(Size::Started(None, sets.to_owned()))
    }

    /// As [`Lake::started`], with another program in the place of executors.
    pub fn started_from(program: &'static str, sets: &str) -> LakeBuilder {
        LakeBuilder::new(Size::Started(Some(program), sets.to_owned()))
    }

    /// A server that creates executor pods as it needs them: `mode` is the value of `executor.mode`, `sets` are sections
    /// `[[executor.sets]]`.
    pub fn pods(mode: String, sets: &str) -> LakeBuilder {
        LakeBuilder::new(Size::Mode(mode, sets.to_owned()))
    }

    /// A server whose executors have this name and listen on this port.
    pub fn named(host: &str, port: u16) -> LakeBuilder {
        let mode = format!("{{ type = \"dns\", host = {host:?}, port = {port} }}");
        LakeBuilder::new(Size::Mode(mode, String::new()))
    }

    /// A server whose only executor is expected at `address`.
    pub fn with_executor(address: SocketAddr) -> LakeBuilder {
        LakeBuilder::new(Size::Processes(0, vec![address]))
    }

    /// Where Flight SQL listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts an executor process in the place of one that has ended; it is no longer among [`Lake::executors`] then.
    pub async fn start_executor(&self, index: usize) -> Result<Process> {
        let address = self.executor_addresses.get(index).context("no such executor")?;
        let place = Place {
            folder: self.folder.path(),
            core: None,
            group: None,
            log: LOG,
            variables: &[],
        };
        let (executor, _) = start_executor(&format!("executor-{index}"), *address, place).await?;
        Ok(executor)
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
    limits: String,
    log: &'static str,
    data_folder: Option<PathBuf>,
    is_proxied: bool,
    hosts: Option<PathBuf>,
    cores: Vec<usize>,
    groups: Vec<Arc<MemoryGroup>>,
    variables: Vec<(String, String)>,
}

/// Where and how an executor process runs.
struct Place<'a> {
    folder: &'a Path,
    core: Option<usize>,
    group: Option<&'a MemoryGroup>,
    log: &'a str,
    variables: &'a [(String, String)],
}

impl LakeBuilder {
    fn new(size: Size) -> Self {
        Self {
            size,
            settings: String::new(),
            sections: String::new(),
            executor: SMALL_SCANS_AND_BROADCASTS,
            limits: String::new(),
            log: LOG,
            data_folder: None,
            is_proxied: false,
            hosts: None,
            cores: Vec::new(),
            groups: Vec::new(),
            variables: Vec::new(),
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
        self.executor = "scan_bytes_per_partition = 1\ntarget_partitions = 7\nbroadcast_bytes_max = 1048576";
        self
    }

    /// Adds lines to the section of executors, which the executor processes read too.
    pub fn executor(mut self, lines: &str) -> Self {
        self.limits.push_str(lines);
        self.limits.push('\n');
        self
    }

    /// Puts a proxy in front of each executor process, for the server and for other executors.
    pub fn proxied(mut self) -> Self {
        self.is_proxied = true;
        self
    }

    /// The server finds names in this file in the place of `/etc/hosts`, also when it is changed later.
    pub fn hosts(mut self, file: &Path) -> Self {
        self.hosts = Some(file.to_owned());
        self
    }

    /// Joins are broadcast as they are where nothing is configured: nearly all, since the tables of tests are small.
    pub fn usual_joins(mut self) -> Self {
        self.executor = "scan_bytes_per_partition = 65536";
        self
    }

    /// Scans are spread, and joins broadcast, as they are where nothing is configured.
    pub fn usual_scans(mut self) -> Self {
        self.executor = "";
        self
    }

    /// Lets executor processes run on these cores of the machine only, one core each, in turn.
    pub fn on_cores(mut self, cores: &[usize]) -> Self {
        self.cores = cores.to_vec();
        self
    }

    /// Lets executor processes hold as much memory as these groups have, one each, in turn.
    pub fn in_groups(mut self, groups: &[Arc<MemoryGroup>]) -> Self {
        self.groups = groups.to_vec();
        self
    }

    /// What the server and executor processes log, instead of warnings.
    pub fn log(mut self, filter: &'static str) -> Self {
        self.log = filter;
        self
    }

    /// Sets environment variables of the server and of executor processes.
    pub fn variables(mut self, variables: &[(String, String)]) -> Self {
        self.variables.extend_from_slice(variables);
        self
    }

    /// Uses the embedded lake of this folder; without it, the lake is new and empty.
    pub fn data(mut self, folder: &Path) -> Self {
        self.data_folder = Some(folder.to_owned());
        self
    }

    /// Starts everything and waits until it answers.
    pub async fn start(self) -> Result<Lake> {
        let folder = tempfile::tempdir()?;
        let (executors, executor_addresses): (Vec<_>, Vec<_>) =
            self.start_executors(folder.path()).await?.into_iter().unzip();
        let Self {
            size,
            settings,
            sections,
            executor,
            limits,
            log,
            data_folder,
            is_proxied,
            hosts,
            variables,
            ..
        } = self;
        let mut proxies = Vec::new();
        let mut sets = String::new();
        let mode = match size {
            Size::Started(program, own) => {
                sets = own;
                let program = program.map(|program| format!(", program = {program:?}"));
                format!("{{ type = \"process\"{} }}", program.unwrap_or_default())
            }
            Size::Mode(mode, own) => {
                sets = own;
                mode
            }
            Size::Embedded => "{ type = \"embedded\" }".to_owned(),
            Size::InProcess(count) => format!("{{ type = \"in-process\", count = {count} }}"),
            Size::Processes(_, mut addresses) => {
                for address in &executor_addresses {
                    if is_proxied {
                        proxies.push(Proxy::start(vec![*address]).await?);
                    }
                    addresses.push(proxies.last().map_or(*address, Proxy::address));
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
        let executor = format!("[executor]\n{executor}\n{limits}mode = {mode}\n{sets}\n");
        std::fs::write(
            &config,
            format!("data_dir = {data:?}\n{settings}\n{sections}\n{executor}"),
        )?;
        let start = Instant::now();
        let mut command = role("serve", any_port(), &config, log)?;
        if let Some(hosts) = &hosts {
            command = with_hosts(hosts, &command);
        }
        let mut server = Process::start("server", with_variables(command, &variables), folder.path())?;
        let address = server.prints("ready: grpc://").await?.parse()?;
        server.ready(async || answers(address).await).await?;
        Ok(Lake {
            server,
            executors,
            proxies,
            ready_after: start.elapsed(),
            address,
            executor_addresses,
            folder,
        })
    }

    async fn start_executors(&self, folder: &Path) -> Result<Vec<(Process, SocketAddr)>> {
        let Size::Processes(count, _) = self.size else {
            return Ok(Vec::new());
        };
        let config = format!("{}\n[executor]\n{}", self.sections, self.limits);
        std::fs::write(folder.join("executor.toml"), config)?;
        let mut started = Vec::new();
        for index in 0..count {
            let place = Place {
                folder,
                core: self.cores.get(index % self.cores.len().max(1)).copied(),
                group: self.groups.get(index % self.groups.len().max(1)).map(Arc::as_ref),
                log: self.log,
                variables: &self.variables,
            };
            started.push(start_executor(&format!("executor-{index}"), any_port(), place).await?);
        }
        Ok(started)
    }
}

async fn start_executor(name: &str, listen: SocketAddr, place: Place<'_>) -> Result<(Process, SocketAddr)> {
    let config = place.folder.join("executor.toml");
    let mut command = role("executor", listen, &config, place.log)?;
    if let Some(core) = place.core {
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &core.to_string()]);
        pinned.arg(command.get_program()).args(command.get_args());
        command = pinned;
    }
    if let Some(group) = place.group {
        command = group.run(&command);
    }
    let mut executor = Process::start(name, with_variables(command, place.variables), place.folder)?;
    let address = executor.prints("ready: executor on ").await?.parse()?;
    Ok((executor, address))
}

fn with_variables(mut command: Command, variables: &[(String, String)]) -> Command {
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

/// `command` in a mount namespace of its own, where `hosts` is `/etc/hosts`.
fn with_hosts(hosts: &Path, command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    inside.args(["--map-root-user", "--mount", "sh", "-c", &mount, "sh"]);
    inside.arg(command.get_program()).args(command.get_args());
    inside
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn role(role: &str, listen: SocketAddr, config: &Path, log: &str) -> Result<Command> {
    let mut command = Command::new(lakewing()?);
    command
        .args([role, "--log", log, "--listen", &listen.to_string(), "--config"])
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
