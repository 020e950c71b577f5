//! What all plans of one process share: memory, the folder they spill to, and the stores they read from.

mod budget;
mod scratch;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use catalog::Stores;
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::config::MemoryLimits;
use crate::error::{Error, Result};

use budget::QueryPool;
use scratch::Scratch;

/// The part of the machine's memory that plans may hold; the rest is for code, caches and what is in flight. On small
/// machines that is more than the rest, and plans get less.
const PERCENT: u64 = 60;
const PERCENT_MIN: u64 = 40;
const REST_BYTES: u64 = 512 << 20;
/// What a machine has that does not tell.
const UNKNOWN_MACHINE_BYTES: u64 = 4 << 30;

/// The part of a process' memory that one query may hold where nothing else is configured.
const QUERY_PERCENT: usize = 75;

/// A sort keeps so much for merging, and less where that is more than this part of a query's memory.
const MERGE_BYTES_MAX: usize = 10 << 20;
const MERGES: usize = 128;

/// The memory of one process, and what each query holds of it.
#[derive(Debug)]
pub(crate) struct Memory {
    runtime: Arc<RuntimeEnv>,
    stores: Arc<Stores>,
    query_bytes_max: usize,
    /// The pools of queries that have tasks here, as long as one of them lives.
    queries: Mutex<HashMap<String, Weak<QueryPool>>>,
    _scratch: Scratch,
}

/// What plans hold in one process now.
#[derive(Debug, Clone, Copy)]
pub struct MemoryUse {
    /// Bytes of memory.
    pub bytes: u64,
    /// The most it may be.
    pub bytes_max: u64,
    /// Bytes of files they spilled to.
    pub spilled_bytes: u64,
}

impl Memory {
    /// Within `limits`, with data files read through `stores`. Memory is given to whoever asks first: dividing it into
    /// equal shares would give every output of a wide shuffle one, and make sorts spill beside idle memory.
    ///
    /// # Errors
    /// [`Error::Spill`] where the spill folder cannot be written.
    pub(crate) fn start(limits: &MemoryLimits, stores: Arc<Stores>) -> Result<Arc<Self>> {
        let bytes_max = limits.memory_bytes_max.unwrap_or_else(default_bytes);
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        let base = limits.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
        let failed = |source| Error::Spill {
            folder: base.display().to_string(),
            source,
        };
        let scratch = Scratch::new(&base).map_err(|error| failed(DataFusionError::IoError(error)))?;
        let disk = DiskManagerBuilder::default()
            .with_mode(DiskManagerMode::Directories(vec![scratch.folder().to_owned()]))
            .with_max_temp_directory_size(limits.spill_bytes_max);
        let runtime = RuntimeEnvBuilder::new()
            .with_object_store_registry(Arc::clone(&stores) as _)
            .with_memory_limit(bytes_max, 1.0)
            .with_disk_manager_builder(disk)
            .build_arc()
            .map_err(failed)?;
        let query_bytes_max = match limits.query_memory_bytes_max {
            Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
            None => bytes_max / 100 * QUERY_PERCENT,
        };
        Ok(Arc::new(Self {
            runtime,
            stores,
            query_bytes_max,
            queries: Mutex::default(),
            _scratch: scratch,
        }))
    }

    /// What all queries share, without a limit for one.
    pub(crate) fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// What data files are read and written through.
    pub(crate) fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// The runtime of a query's part on this machine; `bytes_max` is the query's own limit, where it is lower than that
    /// of the process.
    pub(crate) fn of_query(&self, bytes_max: Option<u64>) -> Arc<RuntimeEnv> {
        self.runtime_in(self.pool(bytes_max))
    }

    /// [`Memory::of_query`] for one task of many that `query` has here: they share its limit.
    pub(crate) fn of_task(&self, query: &str, bytes_max: Option<u64>) -> Arc<RuntimeEnv> {
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        queries.retain(|_, pool| pool.strong_count() > 0);
        let known = queries.get(query).and_then(Weak::upgrade);
        let pool = known.unwrap_or_else(|| {
            let pool = self.pool(bytes_max);
            queries.insert(query.to_owned(), Arc::downgrade(&pool));
            pool
        });
        drop(queries);
        self.runtime_in(pool)
    }

    /// What a sort of a query with that limit keeps for merging what it spills. Many run beside each other: together they
    /// leave most of a query's memory for rows.
    pub(crate) fn merge_bytes(&self, bytes_max: Option<u64>) -> usize {
        (self.query_bytes_max(bytes_max) / MERGES).min(MERGE_BYTES_MAX)
    }

    /// What all queries hold together.
    pub(crate) fn used(&self) -> MemoryUse {
        let pool = &self.runtime.memory_pool;
        let bytes_max = match pool.memory_limit() {
            MemoryLimit::Finite(bytes) => bytes,
            _ => usize::MAX,
        };
        MemoryUse {
            bytes: u64::try_from(pool.reserved()).unwrap_or(u64::MAX),
            bytes_max: u64::try_from(bytes_max).unwrap_or(u64::MAX),
            spilled_bytes: self.runtime.disk_manager.used_disk_space(),
        }
    }

    fn pool(&self, bytes_max: Option<u64>) -> Arc<QueryPool> {
        let bytes_max = self.query_bytes_max(bytes_max);
        Arc::new(QueryPool::new(Arc::clone(&self.runtime.memory_pool), bytes_max))
    }

    /// What a query may hold here that may hold no more than `own`.
    fn query_bytes_max(&self, own: Option<u64>) -> usize {
        let own = own.map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        own.min(self.query_bytes_max)
    }

    fn runtime_in(&self, pool: Arc<QueryPool>) -> Arc<RuntimeEnv> {
        let mut runtime = RuntimeEnv::clone(&self.runtime);
        runtime.memory_pool = pool;
        Arc::new(runtime)
    }
}

fn default_bytes() -> u64 {
    let machine = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| mem_total(&text));
    let group = fs::read_to_string("/proc/self/cgroup")
        .ok()
        .and_then(|text| group_limit(&text));
    let bytes = [machine, group]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(UNKNOWN_MACHINE_BYTES);
    share(bytes)
}

/// What plans may hold of so much memory.
fn share(bytes: u64) -> u64 {
    let most = (bytes / 100 * PERCENT).min(bytes.saturating_sub(REST_BYTES));
    most.max(bytes / 100 * PERCENT_MIN)
}

/// `MemTotal` of Linux' `/proc/meminfo`, in bytes.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The lowest limit of the control groups that `/proc/self/cgroup` names, in bytes, of version 2 or of version 1's memory
/// controller. A container sees its own group as the root.
fn group_limit(cgroup: &str) -> Option<u64> {
    let limits = cgroup.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, group) = (fields.next()?, fields.next()?.strip_prefix('/')?);
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        let own = Path::new(root).join(group);
        let folders = own.ancestors().take_while(|folder| folder.starts_with(root));
        let limits = folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok());
        limits.min()
    });
    limits.min()
}
