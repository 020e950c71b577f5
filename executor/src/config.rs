//! Where plans run and what they may use: plain data, checked whole by [`Config::validate`] and
//! [`ExecutorConfig::validate`]. Knows nothing of sockets, engines or the environment.

mod pods;
mod results;
mod sets;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::error::{Error, Result};

pub use pods::{KubernetesConfig, PodConfig};
pub use results::ResultsConfig;
pub use sets::SetConfig;

/// More executors than this and a cluster is no longer a fixed list.
pub(crate) const EXECUTORS_MAX: usize = 256;

/// How a server runs its plans.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where plans run; default `{ type = "embedded" }`.
    pub mode: Mode,
    /// Partitions of one task: the vCPUs of one executor, whatever this server has. Default: the vCPUs of this machine,
    /// with executors at least 2. Higher costs memory and switching on the executors, lower leaves them idle; with 1,
    /// every scan stays in one task.
    pub target_partitions: Option<usize>,
    /// Bytes of data files one partition of a scan is expected to read, default 16 MiB: a scan gets one task per
    /// `target_partitions` times this. Higher keeps more queries on one executor, lower spreads smaller ones at the
    /// cost of more tasks.
    pub scan_bytes_per_partition: u64,
    /// Bytes that the smaller side of a join may be expected to have for all executors to get the whole of it, default 32
    /// MiB; above, both sides are shuffled. Higher spares shuffles of large tables, and takes that much memory per executor
    /// and join.
    pub broadcast_bytes_max: u64,
    /// How rows are compressed between executors, default `lz4`. `none` is for networks that are faster than compression,
    /// `zstd` for slow ones.
    pub exchange_compression: Compression,
    /// Bytes all running plans of this process may hold together; default 60 % of the machine's or container's memory.
    /// Higher risks that the system kills the process, lower spills or fails queries earlier. What arrives from other
    /// executors is counted but not refused, so leave headroom.
    pub memory_bytes_max: Option<u64>,
    /// Bytes one query may hold on one machine, default 75 % of `memory_bytes_max`. Higher lets one query take the
    /// memory of others, lower spills or fails big queries earlier.
    pub query_memory_bytes_max: Option<u64>,
    /// Folder for what does not fit into memory; default the system's folder for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Bytes all spilled files may hold together, default 32 GiB. Higher fills the disk, lower fails big queries.
    pub spill_bytes_max: u64,
    /// How long connecting to an executor may take, default 5 s. Higher hides dead executors longer, lower fails on
    /// slow networks.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a connection to an executor may be silent before it is probed, and how long the probe may take; default
    /// 10 s. Lower takes busy executors for dead.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// How long an executor may leave the question whether it lives unanswered before it counts as lost and its queries
    /// are run again without it; default 5 s. Lower takes busy executors for dead, higher finds silent ones later.
    #[serde(with = "humantime_serde")]
    pub lost_after: Duration,
    /// How long a query waits for an executor where none is ready, default 10 s. Higher bridges restarts, lower fails
    /// sooner.
    #[serde(with = "humantime_serde")]
    pub executors_wait: Duration,
    /// Encryption of the connections to executors and between them; none by default.
    pub tls: Option<TlsConfig>,
    /// Where executors hand out results to clients themselves; nowhere by default.
    pub results: Option<ResultsConfig>,
    /// How long executors inside this process may finish running queries at shutdown, default 30 s.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
    /// Executors that this server starts and ends by itself, in sets; without any, one set with the defaults. The first
    /// is for queries that ask for none.
    pub sets: Vec<SetConfig>,
    /// Bytes of data files that a query may read in the server itself while no executor of its set is ready, default
    /// 64 MiB: small queries do not wait for executors to start. Higher makes the server work more.
    pub local_scan_bytes_max: u64,
    /// The file that all of this was read from: executor processes that this server starts read it too.
    #[serde(skip)]
    pub file: Option<PathBuf>,
}

/// How batches of rows are compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// Fast.
    #[default]
    Lz4,
    /// Small.
    Zstd,
}

/// Where plans run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Mode {
    /// In this process, without any executor.
    #[default]
    Embedded,
    /// On executors inside this process, over loopback sockets: a cluster in one process. They share its memory.
    InProcess {
        /// How many, at least 1.
        count: usize,
    },
    /// On executor processes that somebody else starts. Plans that need only one task run in this process.
    Static {
        /// Their addresses, such as `http://10.0.0.7:31417`.
        addresses: Vec<Url>,
    },
    /// On the executor processes behind a name that is resolved every few seconds, such as that of a headless service.
    Dns {
        /// The name.
        host: String,
        /// The port they all listen on.
        port: u16,
    },
    /// On executor processes on this machine, which this server starts and ends as they are needed.
    Process {
        /// The program to start, default the one that runs.
        #[serde(default)]
        program: Option<PathBuf>,
    },
    /// On executor pods of a Kubernetes cluster, which this server creates and deletes as they are needed.
    Kubernetes(KubernetesConfig),
}

/// How one executor process runs.
///
/// It runs any plan it is given with the rights of its storage profiles: without [`ExecutorConfig::tls`] it trusts
/// whoever can reach its port, so listen only where no one but the servers and the other executors can connect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExecutorConfig {
    /// Where to listen, default `127.0.0.1:31417`; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Bytes all running tasks may hold together; default 60 % of the machine's or container's memory, less below 1.25 GiB.
    /// Higher risks that the system kills the process, lower spills or fails queries earlier. What arrives from other
    /// executors is counted but not refused, so leave headroom.
    pub memory_bytes_max: Option<u64>,
    /// Bytes one query may hold on one machine, default 75 % of `memory_bytes_max`. Higher lets one query take the
    /// memory of others, lower spills or fails big queries earlier.
    pub query_memory_bytes_max: Option<u64>,
    /// Folder for what does not fit into memory; default the system's folder for temporary files.
    pub spill_dir: Option<PathBuf>,
    /// Bytes all spilled files may hold together, default 32 GiB. Higher fills the disk, lower fails big queries.
    pub spill_bytes_max: u64,
    /// How long connecting to another executor may take, default 5 s. Higher hides dead executors longer, lower fails
    /// on slow networks.
    #[serde(with = "humantime_serde")]
    pub connect_timeout: Duration,
    /// How long a connection may be silent before it is probed, and how long the probe may take; default 10 s. Lower
    /// takes busy peers for dead.
    #[serde(with = "humantime_serde")]
    pub keep_alive: Duration,
    /// Encryption of connections; none by default.
    pub tls: Option<TlsConfig>,
    /// Where results are handed out to clients; nowhere by default.
    pub results: Option<ResultsConfig>,
    /// How long running queries may go on at shutdown before they are cut, default 30 s. Higher delays the exit, lower
    /// fails queries that were nearly done.
    #[serde(with = "humantime_serde")]
    pub grace: Duration,
}

/// Certificates of the processes of one cluster, read once at the start. Servers and executors show theirs to each other.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file of this process' certificate and the chain that vouches for it.
    pub certificate: PathBuf,
    /// PEM file of the certificate's private key.
    pub key: PathBuf,
    /// PEM file of the authority that vouches for all processes of the cluster, and for nobody else.
    pub authority: PathBuf,
    /// A name that the certificates of all executors have; default the host in an executor's address.
    #[serde(default)]
    pub name: Option<String>,
}

/// What the plans of one process may use.
#[derive(Debug, Clone)]
pub(crate) struct MemoryLimits {
    pub(crate) memory_bytes_max: Option<u64>,
    pub(crate) query_memory_bytes_max: Option<u64>,
    pub(crate) spill_dir: Option<PathBuf>,
    pub(crate) spill_bytes_max: u64,
}

/// How connections between coordinators and executors behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Links {
    pub(crate) connect_timeout: Duration,
    pub(crate) keep_alive: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            target_partitions: None,
            scan_bytes_per_partition: 16 * 1024 * 1024,
            broadcast_bytes_max: 32 * 1024 * 1024,
            exchange_compression: Compression::default(),
            memory_bytes_max: None,
            query_memory_bytes_max: None,
            spill_dir: None,
            spill_bytes_max: SPILL_BYTES_MAX,
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            lost_after: LOST_AFTER,
            executors_wait: EXECUTORS_WAIT,
            tls: None,
            results: None,
            grace: GRACE,
            sets: Vec::new(),
            local_scan_bytes_max: LOCAL_SCAN_BYTES_MAX,
            file: None,
        }
    }
}

impl Default for ExecutorConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 31417)),
            memory_bytes_max: None,
            query_memory_bytes_max: None,
            spill_dir: None,
            spill_bytes_max: SPILL_BYTES_MAX,
            connect_timeout: CONNECT_TIMEOUT,
            keep_alive: KEEP_ALIVE,
            tls: None,
            results: None,
            grace: GRACE,
        }
    }
}

const SPILL_BYTES_MAX: u64 = 32 * 1024 * 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const LOST_AFTER: Duration = Duration::from_secs(5);
const EXECUTORS_WAIT: Duration = Duration::from_secs(10);
const LOCAL_SCAN_BYTES_MAX: u64 = 64 * 1024 * 1024;
const GRACE: Duration = Duration::from_secs(30);

impl Config {
    /// Checks what the types cannot. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Config`] with the path of the first offending key below this structure.
    pub fn validate(&self) -> Result<()> {
        self.mode.validate()?;
        if let Mode::Static { addresses } = &self.mode {
            validate_scheme(addresses, if self.tls.is_some() { "https" } else { "http" })?;
        }
        if self.target_partitions == Some(0) {
            return invalid("target_partitions", "must be at least 1");
        }
        if self.scan_bytes_per_partition == 0 {
            return invalid("scan_bytes_per_partition", "must be at least 1");
        }
        if self.lost_after.is_zero() {
            return invalid("lost_after", "must be longer than 0");
        }
        sets::validate(&self.sets, matches!(self.mode, Mode::Kubernetes(_)))?;
        if !self.sets.is_empty() && !self.mode.is_scaled() {
            return invalid(
                "sets",
                "are for mode.type = \"process\" and \"kubernetes\"; executors of other modes are not started here",
            );
        }
        self.memory().validate()?;
        if let Some(results) = &self.results {
            results.validate()?;
        }
        self.links().validate()
    }

    /// The sets of executors that are started and ended here; none where the mode starts none.
    pub(crate) fn scaled_sets(&self) -> Vec<SetConfig> {
        match (self.mode.is_scaled(), self.sets.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => vec![SetConfig::default()],
            (true, false) => self.sets.clone(),
        }
    }

    pub(crate) fn memory(&self) -> MemoryLimits {
        MemoryLimits {
            memory_bytes_max: self.memory_bytes_max,
            query_memory_bytes_max: self.query_memory_bytes_max,
            spill_dir: self.spill_dir.clone(),
            spill_bytes_max: self.spill_bytes_max,
        }
    }

    pub(crate) fn links(&self) -> Links {
        Links {
            connect_timeout: self.connect_timeout,
            keep_alive: self.keep_alive,
        }
    }
}

impl ExecutorConfig {
    /// Checks what the types cannot. Does no I/O.
    ///
    /// # Errors
    /// [`Error::Config`] with the path of the first offending key below this structure.
    pub fn validate(&self) -> Result<()> {
        self.memory().validate()?;
        if let Some(results) = &self.results {
            results.validate()?;
        }
        self.links().validate()
    }

    pub(crate) fn memory(&self) -> MemoryLimits {
        MemoryLimits {
            memory_bytes_max: self.memory_bytes_max,
            query_memory_bytes_max: self.query_memory_bytes_max,
            spill_dir: self.spill_dir.clone(),
            spill_bytes_max: self.spill_bytes_max,
        }
    }

    pub(crate) fn links(&self) -> Links {
        Links {
            connect_timeout: self.connect_timeout,
            keep_alive: self.keep_alive,
        }
    }
}

impl Mode {
    fn validate(&self) -> Result<()> {
        match self {
            Mode::Embedded => Ok(()),
            Mode::InProcess { count } if (1..=EXECUTORS_MAX).contains(count) => Ok(()),
            Mode::InProcess { .. } => invalid("mode.count", &format!("must be between 1 and {EXECUTORS_MAX}")),
            Mode::Static { addresses } => validate_addresses(addresses),
            Mode::Dns { host, .. } if host.is_empty() => invalid("mode.host", "must be a name"),
            Mode::Dns { port: 0, .. } => invalid("mode.port", "must be between 1 and 65535"),
            Mode::Dns { .. } | Mode::Process { .. } => Ok(()),
            Mode::Kubernetes(kubernetes) => kubernetes.validate(),
        }
    }

    /// True where executors are started and ended as they are needed.
    fn is_scaled(&self) -> bool {
        matches!(self, Mode::Process { .. } | Mode::Kubernetes(_))
    }
}

impl MemoryLimits {
    fn validate(&self) -> Result<()> {
        if self.query_memory_bytes_max == Some(0) {
            return invalid("query_memory_bytes_max", "must be at least 1");
        }
        match self.memory_bytes_max {
            Some(0) => invalid("memory_bytes_max", "must be at least 1"),
            _ => Ok(()),
        }
    }
}

impl Links {
    fn validate(&self) -> Result<()> {
        if self.connect_timeout.is_zero() {
            return invalid("connect_timeout", "must be longer than 0");
        }
        if self.keep_alive.is_zero() {
            return invalid("keep_alive", "must be longer than 0");
        }
        Ok(())
    }
}

fn validate_addresses(addresses: &[Url]) -> Result<()> {
    if !(1..=EXECUTORS_MAX).contains(&addresses.len()) {
        return invalid(
            "mode.addresses",
            &format!("must name between 1 and {EXECUTORS_MAX} executors"),
        );
    }
    for (index, address) in addresses.iter().enumerate() {
        let key = format!("mode.addresses.{index}");
        let bare = address.path() == "/" && address.query().is_none() && address.username().is_empty();
        if !matches!(address.scheme(), "http" | "https") || address.port().is_none() || !bare {
            return invalid(&key, &format!("must have the form http://host:port, not {address}"));
        }
        if addresses[..index].contains(address) {
            return invalid(&key, &format!("{address} is listed twice"));
        }
    }
    Ok(())
}

fn validate_scheme(addresses: &[Url], scheme: &str) -> Result<()> {
    match addresses.iter().position(|address| address.scheme() != scheme) {
        Some(index) => invalid(
            &format!("mode.addresses.{index}"),
            &format!("must begin with {scheme}://: with executor.tls all executors are encrypted, without it none"),
        ),
        None => Ok(()),
    }
}

fn invalid(key: &str, detail: &str) -> Result<()> {
    Err(Error::Config {
        key: key.to_owned(),
        detail: detail.to_owned(),
    })
}
