//! The newest version of every Delta table that was asked for, and its live files.
//!
//! A log is looked at for every query: one listing from the newest known commit on. Where that commit is still the
//! same object and the last one, what is known is the truth; where commits follow, they alone are read; otherwise the
//! table was made anew, or its log was cut, and it is read from scratch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use chrono::{DateTime, Utc};
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::scan::{PartitionValuesOptions, Scan, ScanMetadata, StatsOptions};
use delta_kernel::{KernelError, Snapshot, SnapshotRef};
use futures::TryStreamExt;
use object_store::ObjectMeta;

use super::columns::Columns;
use super::log::Log;
use super::replay;
use super::statistics::FileBatch;
use crate::error::{Error, Result};
use crate::stores::Stores;
use crate::stores::cache::{BoundedCache, CacheUse};

/// Bound of the versions' cache: schemas and the names of log files.
const VERSION_BYTES_MAX: u64 = 64 << 20;
/// What a version takes beside what the kernel tells of it.
const VERSION_BYTES: usize = 16 << 10;
/// Bound of the file lists' cache.
const FILES_BYTES_MAX: u64 = 256 << 20;

/// Live files of a version, in batches as [`replay`] makes them.
pub(crate) type FileBatches = Arc<Vec<FileBatch>>;

/// The newest versions by the root of their table, and file lists by generation and version.
#[derive(Debug, Clone)]
pub(crate) struct DeltaCache {
    versions: BoundedCache<String, Arc<Version>>,
    files: BoundedCache<(u64, u64), FileBatches>,
    generations: Arc<AtomicU64>,
    stores: Arc<Stores>,
}

/// One version of one table.
#[derive(Debug)]
pub(crate) struct Version {
    /// The kernel's view of it.
    pub(crate) kernel: SnapshotRef,
    /// Its columns.
    pub(crate) columns: Arc<Columns>,
    /// The object of its own commit.
    commit: Option<Commit>,
    /// Unique number of the read from scratch that it descends from: two versions of one generation are versions of
    /// one table, and commits are all that is between them.
    generation: u64,
    /// A version of the same generation with the same metadata, whose files are perhaps listed.
    base: Option<u64>,
    /// True where it was the newest when it was read, so that it may be asked for again.
    newest: bool,
}

/// One commit of a log as the store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commit {
    /// The version that it makes.
    pub(crate) version: u64,
    /// Its object: a commit is written once, so that another object is a commit of another table.
    pub(crate) object: ObjectMeta,
}

impl Version {
    /// The number of the version.
    pub(crate) fn number(&self) -> u64 {
        self.kernel.version()
    }
}

impl DeltaCache {
    pub(crate) fn new(stores: Arc<Stores>) -> Self {
        let version_weight = |root: &String, version: &Arc<Version>| {
            root.len() + version.kernel.estimated_owned_heap_size_bytes() + VERSION_BYTES
        };
        let files_weight = |_: &(u64, u64), batches: &FileBatches| {
            batches.iter().map(|batch| batch.files().get_array_memory_size()).sum()
        };
        Self {
            versions: BoundedCache::new("Delta versions", VERSION_BYTES_MAX, version_weight),
            files: BoundedCache::new("Delta file lists", FILES_BYTES_MAX, files_weight),
            generations: Arc::default(),
            stores,
        }
    }

    pub(crate) fn usage(&self) -> [CacheUse; 2] {
        [self.versions.usage(), self.files.usage()]
    }

    /// The stores that the tables lie on.
    pub(crate) fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// The newest version of the table.
    pub(crate) async fn latest(&self, log: &Log) -> Result<Arc<Version>> {
        let root = log.root_url.as_str();
        if let Some(known) = self.versions.get(root).await {
            let commits = commits_from(log, known.number()).await?;
            match commits.as_slice() {
                [own] if known.commit.as_ref() == Some(own) => return Ok(known),
                [own, .., newest] if known.commit.as_ref() == Some(own) => {
                    match self.forward(log, &known, newest).await {
                        Ok(version) => return Ok(self.keep(root, version).await),
                        // Whatever is wrong shows again when the log is read from scratch.
                        Err(error) => tracing::debug!(table = log.table, %error, "reads the log from scratch"),
                    }
                }
                _ => {}
            }
        }
        let (url, engine) = (log.root_url.clone(), log.engine());
        let build = move || Snapshot::builder_for(url.as_str()).build(&engine);
        let kernel = log.blocking(build).await?;
        let mut version = self.scratch(log, kernel)?;
        let commits = commits_from(log, version.number()).await?;
        version.commit = commits.into_iter().find(|commit| is_of(commit, &version.kernel));
        version.newest = version.commit.is_some();
        match version.newest {
            true => Ok(self.keep(root, version).await),
            // Its commit is cut off already, behind a checkpoint: nothing would show that the table was made anew.
            false => Ok(Arc::new(version)),
        }
    }

    /// An older version of the table, read from scratch.
    pub(crate) async fn older(&self, log: &Log, version: u64) -> Result<Arc<Version>> {
        let (url, engine) = (log.root_url.clone(), log.engine());
        let build = move || Snapshot::builder_for(url.as_str()).at_version(version).build(&engine);
        let kernel = log.blocking(build).await?;
        Ok(Arc::new(self.scratch(log, kernel)?))
    }

    fn scratch(&self, log: &Log, kernel: SnapshotRef) -> Result<Version> {
        Ok(Version {
            columns: Arc::new(Columns::of(log, &kernel)?),
            kernel,
            commit: None,
            generation: self.generations.fetch_add(1, Ordering::Relaxed),
            base: None,
            newest: false,
        })
    }

    /// `known` and the commits that follow it, up to `newest`.
    async fn forward(&self, log: &Log, known: &Version, newest: &Commit) -> Result<Version> {
        let (engine, from, to) = (log.engine(), Arc::clone(&known.kernel), newest.version);
        let build = move || Snapshot::builder_from(from).at_version(to).build(&engine);
        let kernel = log.blocking(build).await?;
        let (old, new) = (known.kernel.table_configuration(), kernel.table_configuration());
        let same = old.metadata() == new.metadata() && old.protocol() == new.protocol();
        let listed = self.files.contains_key(&(known.generation, known.number()));
        Ok(Version {
            columns: match same {
                true => Arc::clone(&known.columns),
                false => Arc::new(Columns::of(log, &kernel)?),
            },
            base: match (same, listed) {
                (true, true) => Some(known.number()),
                (true, false) => known.base,
                (false, _) => None,
            },
            kernel,
            commit: Some(newest.clone()),
            generation: known.generation,
            newest: true,
        })
    }

    async fn keep(&self, root: &str, version: Version) -> Arc<Version> {
        let version = Arc::new(version);
        self.versions.insert(root.to_owned(), Arc::clone(&version)).await;
        version
    }

    /// The live files of a version.
    pub(crate) async fn files(&self, log: &Log, version: &Version) -> Result<FileBatches> {
        if !version.newest {
            return self.replayed(log, version).await;
        }
        let key = (version.generation, version.number());
        match self.files.get_or_load(&key, self.listed(log, version)).await {
            Ok(files) => Ok(files),
            Err(shared) => match Arc::try_unwrap(shared) {
                Ok(error) => Err(error),
                // Another query has the error: this one gets its own.
                Err(_) => self.replayed(log, version).await,
            },
        }
    }

    async fn listed(&self, log: &Log, version: &Version) -> Result<FileBatches> {
        let Some(base) = version.base else {
            return self.replayed(log, version).await;
        };
        let key = (version.generation, base);
        let Some(files) = self.files.get(&key).await else {
            return self.replayed(log, version).await;
        };
        let (engine, kernel, columns) = (log.engine(), Arc::clone(&version.kernel), Arc::clone(&version.columns));
        let advance = move || {
            if kernel.log_segment().checkpoint_version.is_some_and(|at| at > base) {
                return Ok(None);
            }
            let Some(commits) = Arc::clone(&kernel).incremental_scan_builder(base).build(&engine)? else {
                return Ok(None);
            };
            let changed = commits.into_summary()?;
            let added = scan_of(kernel)?.scan_metadata_from(&engine, base, std::iter::empty(), None)?;
            let added = reduced(added, &columns)?;
            let batches = replay::advance(&files, &changed.removes, &changed.live_adds, added)?;
            Ok::<_, KernelError>(Some(batches))
        };
        match log.blocking(advance).await? {
            Some(batches) => {
                self.files.invalidate(&key).await;
                Ok(Arc::new(batches))
            }
            None => self.replayed(log, version).await,
        }
    }

    /// The live files from a replay of the whole log.
    async fn replayed(&self, log: &Log, version: &Version) -> Result<FileBatches> {
        let (engine, kernel, columns) = (log.engine(), Arc::clone(&version.kernel), Arc::clone(&version.columns));
        let replay = move || {
            let batches = scan_of(kernel)?.scan_metadata(&engine)?;
            Ok(replay::merge(reduced(batches, &columns)?)?)
        };
        log.blocking(replay).await.map(Arc::new)
    }
}

fn scan_of(kernel: SnapshotRef) -> Result<Scan, KernelError> {
    kernel
        .scan_builder()
        .with_stats(StatsOptions::json_only())
        .with_partition_values(PartitionValuesOptions::with_struct())
        .without_row_transforms()
        .build()
}

fn reduced(
    batches: impl Iterator<Item = Result<ScanMetadata, KernelError>>,
    columns: &Columns,
) -> Result<Vec<RecordBatch>, KernelError> {
    let reduce = |batch: Result<ScanMetadata, KernelError>| {
        let batch = batch?.scan_files.apply_selection_vector()?.try_into_record_batch()?;
        Ok(replay::reduce(&batch, columns)?)
    };
    batches.map(reduce).collect()
}

/// True for the commit that the kernel has read as the newest one of its version.
fn is_of(commit: &Commit, kernel: &Snapshot) -> bool {
    let read = kernel.log_segment().listed.latest_commit_file.as_ref();
    read.is_some_and(|read| {
        let (at, object) = (&read.location, &commit.object);
        commit.version == kernel.version()
            && read.version == kernel.version()
            && at.size == object.size
            && at.last_modified == millis(object.last_modified)
    })
}

fn millis(time: DateTime<Utc>) -> i64 {
    time.timestamp_millis()
}

/// The commits from `version` on, in their order.
pub(crate) async fn commits_from(log: &Log, version: u64) -> Result<Vec<Commit>> {
    let folder = log.folder();
    // A name without an ending stands before all files of its version.
    let offset = folder.clone().join(format!("{version:020}"));
    let ordered = !log.root.store_url.as_str().starts_with("file:");
    let mut objects = log.root.store.list_with_offset(Some(&folder), &offset);
    let mut commits = Vec::new();
    let failed = |error| Error::storage(log.root_url.as_str(), error);
    while let Some(object) = objects.try_next().await.map_err(failed)? {
        let name = object.location.filename().unwrap_or_default();
        // Folders such as `_sidecars` follow all versions.
        if ordered && !name.starts_with(|c: char| c.is_ascii_digit()) {
            break;
        }
        let in_folder = object.location.parts_count() == folder.parts_count() + 1;
        let digits = name
            .strip_suffix(".json")
            .filter(|digits| digits.len() == 20 && in_folder);
        if let Some(version) = digits.and_then(|digits| digits.parse().ok()) {
            commits.push(Commit { version, object });
        }
    }
    commits.sort_by_key(|commit| commit.version);
    Ok(commits)
}

#[cfg(test)]
mod tests;
