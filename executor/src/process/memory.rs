//! What all plans of one process share: memory, the folder they spill to, and the stores they read from.

#[cfg(test)]
mod tests;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use catalog::Stores;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::config::MemoryLimits;
use crate::error::{Error, Result};

/// The part of the machine's memory that plans may hold; the rest is for code, caches and what is in flight.
const PERCENT: u64 = 60;
/// What a machine has that does not tell.
const UNKNOWN_MACHINE_BYTES: u64 = 4 << 30;

/// The runtime of one process, within `limits`. Memory is given to whoever asks first: dividing it into equal shares
/// would give every output of a wide shuffle one, and make sorts spill beside idle memory.
///
/// # Errors
/// [`Error::Spill`] where the spill folder cannot be written.
pub(crate) fn runtime_env(limits: &MemoryLimits, stores: Arc<Stores>) -> Result<Arc<RuntimeEnv>> {
    let bytes_max = limits.memory_bytes_max.unwrap_or_else(default_bytes);
    let mode = match &limits.spill_dir {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    let disk = DiskManagerBuilder::default()
        .with_mode(mode)
        .with_max_temp_directory_size(limits.spill_bytes_max);
    RuntimeEnvBuilder::new()
        .with_object_store_registry(stores)
        .with_memory_limit(usize::try_from(bytes_max).unwrap_or(usize::MAX), 1.0)
        .with_disk_manager_builder(disk)
        .build_arc()
        .map_err(|source| Error::Spill {
            folder: limits
                .spill_dir
                .as_deref()
                .unwrap_or(Path::new("the temporary folder"))
                .display()
                .to_string(),
            source,
        })
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
    bytes / 100 * PERCENT
}

/// `MemTotal` of Linux' `/proc/meminfo`, in bytes.
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The lowest limit of the control groups of version 2 that `/proc/self/cgroup` names, in bytes. A container sees its
/// own group as the root.
fn group_limit(cgroup: &str) -> Option<u64> {
    let group = cgroup.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = Path::new("/sys/fs/cgroup").join(group);
    own.ancestors()
        .take_while(|folder| folder.starts_with("/sys/fs/cgroup"))
        .filter_map(|folder| fs::read_to_string(folder.join("memory.max")).ok()?.trim().parse().ok())
        .min()
}
