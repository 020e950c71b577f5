//! What the log says of single live files: everything that a later action about them has to repeat.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, MapArray, RecordBatch, StructArray};
use arrow::datatypes::Int64Type;
use delta_kernel::KernelError;
use delta_kernel::SnapshotRef;
use delta_kernel::actions::deletion_vector::DeletionVectorDescriptor;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::scan::StatsOptions;

use crate::delta::log::{Engine, Log};
use crate::delta::vector::Vectors;
use crate::error::{Error, Result};

/// Texts by key; NULL where the log says so.
pub(crate) type Texts = BTreeMap<String, Option<String>>;

/// The `add` action of a live file.
#[derive(Debug, Clone)]
pub(crate) struct LiveFile {
    /// As the log writes it.
    pub(crate) path: String,
    /// By physical name, as texts.
    pub(crate) partition_values: Texts,
    /// Size of the file.
    pub(crate) size: Option<i64>,
    /// In milliseconds since the epoch.
    pub(crate) modified_ms: Option<i64>,
    /// The statistics' JSON.
    pub(crate) stats: Option<String>,
    /// Its tags.
    pub(crate) tags: Option<Texts>,
    /// Rows that are deleted already.
    pub(crate) vector: Option<DeletionVectorDescriptor>,
    /// Row tracking: the id of its first row.
    pub(crate) base_row_id: Option<i64>,
    /// Row tracking: the version that added its rows.
    pub(crate) row_commit_version: Option<i64>,
    /// Who clustered it.
    pub(crate) clustering_provider: Option<String>,
}

impl LiveFile {
    /// Number of rows in the file, deleted ones included, where its statistics have it.
    pub(crate) fn rows(&self) -> Option<u64> {
        let stats: serde_json::Value = serde_json::from_str(self.stats.as_deref()?).ok()?;
        stats.get("numRecords")?.as_u64()
    }
}

/// Which live files are wanted.
#[derive(Debug, Clone)]
pub(crate) enum Wanted {
    /// Every one.
    All,
    /// Those with these paths, as the log writes them.
    Paths(HashSet<String>),
}

/// The wanted live files of a version, by path. A path that is no live file's is an error.
pub(crate) async fn find(log: &Log, kernel: &SnapshotRef, wanted: Wanted) -> Result<HashMap<String, LiveFile>> {
    if matches!(&wanted, Wanted::Paths(paths) if paths.is_empty()) {
        return Ok(HashMap::new());
    }
    let (engine, snapshot, looked_for) = (log.engine(), Arc::clone(kernel), wanted.clone());
    let found = log.blocking(move || replayed(snapshot, &engine, &looked_for)).await?;
    if let Wanted::Paths(paths) = &wanted
        && let Some(missing) = paths.iter().find(|path| !found.contains_key(*path))
    {
        return Err(Error::Write {
            table: log.table.clone(),
            detail: format!("{missing} is no data file of version {}", kernel.version()),
            source: None,
        });
    }
    Ok(found)
}

fn replayed(kernel: SnapshotRef, engine: &Engine, wanted: &Wanted) -> Result<HashMap<String, LiveFile>, KernelError> {
    let scan = kernel
        .scan_builder()
        .with_stats(StatsOptions::json_only())
        .without_row_transforms()
        .build()?;
    let mut found = HashMap::new();
    for metadata in scan.scan_metadata(engine)? {
        let batch = metadata?.scan_files.apply_selection_vector()?.try_into_record_batch()?;
        let rows = Rows::new(&batch).ok_or_else(|| KernelError::generic("the replay of the log lacks columns"))?;
        for row in 0..batch.num_rows() {
            let path = rows.path(row);
            if matches!(wanted, Wanted::Paths(paths) if !paths.contains(path)) {
                continue;
            }
            found.insert(path.to_owned(), rows.file(row)?);
        }
    }
    Ok(found)
}

/// A batch of the kernel's replay, row by row.
struct Rows<'a> {
    batch: &'a RecordBatch,
    constants: &'a StructArray,
    vectors: Vectors<'a>,
}

impl<'a> Rows<'a> {
    fn new(batch: &'a RecordBatch) -> Option<Self> {
        batch.column_by_name("path")?.as_string_opt::<i32>()?;
        Some(Self {
            batch,
            constants: batch.column_by_name("fileConstantValues")?.as_struct_opt()?,
            vectors: Vectors::new(batch.column_by_name("deletionVector")?)?,
        })
    }

    fn path(&self, row: usize) -> &'a str {
        self.batch
            .column_by_name("path")
            .map_or("", |paths| paths.as_string::<i32>().value(row))
    }

    fn file(&self, row: usize) -> Result<LiveFile, KernelError> {
        let number = |name: &str| {
            let values = self.batch.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
            values.is_valid(row).then(|| values.value(row))
        };
        let constant = |name: &str| {
            let values = self.constants.column_by_name(name)?.as_primitive_opt::<Int64Type>()?;
            values.is_valid(row).then(|| values.value(row))
        };
        let text = |values: Option<&'a arrow::array::ArrayRef>| {
            let values = values?.as_string_opt::<i32>()?;
            values.is_valid(row).then(|| values.value(row).to_owned())
        };
        let texts = |name: &str| {
            self.constants
                .column_by_name(name)?
                .as_map_opt()
                .and_then(|map| texts(map, row))
        };
        Ok(LiveFile {
            path: self.path(row).to_owned(),
            partition_values: texts("partitionValues").unwrap_or_default(),
            size: number("size"),
            modified_ms: number("modificationTime"),
            stats: text(self.batch.column_by_name("stats")),
            tags: texts("tags"),
            vector: self.vectors.descriptor(row)?,
            base_row_id: constant("baseRowId"),
            row_commit_version: constant("defaultRowCommitVersion"),
            clustering_provider: text(self.constants.column_by_name("clusteringProvider")),
        })
    }
}

fn texts(map: &MapArray, row: usize) -> Option<Texts> {
    if map.is_null(row) {
        return None;
    }
    let entries = map.value(row);
    let (keys, values) = (
        entries.column(0).as_string_opt::<i32>()?,
        entries.column(1).as_string_opt::<i32>()?,
    );
    let value = |entry: usize| values.is_valid(entry).then(|| values.value(entry).to_owned());
    Some(
        (0..entries.len())
            .map(|entry| (keys.value(entry).to_owned(), value(entry)))
            .collect(),
    )
}
