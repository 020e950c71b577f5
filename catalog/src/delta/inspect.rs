//! The metadata tables of a Delta table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use serde_json::{Map, Value};

use super::cache::{Commit, commits_from};
use super::files::Batch;
use super::log::Log;
use super::read::DeltaSnapshot;
use super::statistics::{PARSED, StatsParser};
use super::vector::Vectors;
use crate::error::{Error, Result};
use crate::system_table::MetadataTable;

/// Commits read at once.
const READS_AT_ONCE: usize = 16;
/// How much of a commit is searched for its `commitInfo`, from its start and, where that is not all, from its end.
const SEARCH_BYTES: u64 = 1 << 20;

impl DeltaSnapshot {
    /// The rows of one metadata table.
    pub(crate) async fn inspect(self: Arc<Self>, what: MetadataTable) -> Result<RecordBatch> {
        match what {
            MetadataTable::History => self.history(true).await,
            MetadataTable::Snapshots => self.history(false).await,
            MetadataTable::Files => {
                let files = self.listed().await?;
                self.batch(files_columns(&files))
            }
            MetadataTable::Partitions => {
                let files = self.listed().await?;
                self.batch(partitions_columns(&files))
            }
            MetadataTable::Properties => self.properties(),
            MetadataTable::Refs | MetadataTable::Manifests => {
                let feature = format!("the metadata table {}, which Delta tables have not", what.name());
                Err(self.log.unsupported(feature))
            }
        }
    }

    fn batch(&self, columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
            .map_err(|error| self.log.corrupt(error.to_string()))
    }

    /// The commits up to this version that still exist, the oldest first. Their times are those that time travel goes
    /// by.
    async fn history(&self, with_parameters: bool) -> Result<RecordBatch> {
        let mut commits = commits_from(&self.log, 0).await?;
        commits.retain(|commit| commit.version <= self.version.number());
        let reads: Vec<_> = commits.iter().map(|commit| commit_info(&self.log, commit)).collect();
        let infos: Vec<Map<String, Value>> = stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let mut last = i64::MIN;
        let times = commits.iter().zip(&infos).map(|(commit, info)| {
            let modified = commit.object.last_modified.timestamp_millis();
            let in_commit = info.get("inCommitTimestamp").and_then(Value::as_i64);
            last = in_commit.unwrap_or_else(|| modified.max(last.saturating_add(1)));
            Some(last)
        });
        let times = utc(times);
        let operation = infos.iter().map(|info| info.get("operation").and_then(Value::as_str));
        let versions = commits.iter().map(|commit| i64::try_from(commit.version).ok());
        let mut columns: Vec<(&str, ArrayRef)> = vec![
            ("version", Arc::new(versions.collect::<Int64Array>())),
            ("timestamp", times),
            ("operation", Arc::new(operation.collect::<StringArray>())),
        ];
        if with_parameters {
            let parameters = infos
                .iter()
                .map(|info| info.get("operationParameters").map(Value::to_string));
            columns.push(("operation_parameters", Arc::new(parameters.collect::<StringArray>())));
        }
        self.batch(columns)
    }

    fn properties(&self) -> Result<RecordBatch> {
        let kernel = &self.version.kernel;
        let mut properties: BTreeMap<_, _> = kernel.get_protocol_derived_properties().into_iter().collect();
        let configured = kernel.metadata_configuration().iter();
        properties.extend(configured.map(|(key, value)| (key.clone(), value.clone())));
        self.batch(vec![
            ("key", Arc::new(properties.keys().map(Some).collect::<StringArray>())),
            (
                "value",
                Arc::new(properties.values().map(Some).collect::<StringArray>()),
            ),
        ])
    }

    /// What is known of every live file.
    async fn listed(&self) -> Result<Vec<ListedFile>> {
        let batches = self.cache.files(&self.log, &self.version).await?;
        let (engine, kernel) = (self.log.engine(), Arc::clone(&self.version.kernel));
        let parse = move || {
            let parser = StatsParser::new(&engine, &kernel)?;
            let batches = batches.iter().map(|batch| batch.with_stats(&parser));
            batches.collect::<Result<Vec<_>, _>>()
        };
        let mut files = Vec::new();
        for batch in &self.log.blocking(parse).await? {
            let partitions = self.partitions_of(batch)?;
            let number = |name: &str| batch.column_by_name(name)?.as_primitive_opt::<Int64Type>().cloned();
            let stats = batch.column_by_name(PARSED).and_then(|c| c.as_struct_opt());
            let records = stats.and_then(|s| s.column_by_name("numRecords")?.as_primitive_opt::<Int64Type>());
            let (size, modified) = (number("size"), number("modificationTime"));
            let path = batch.column_by_name("path").and_then(|c| c.as_string_opt::<i32>());
            let vectors = batch.column_by_name("deletionVector").and_then(Vectors::new);
            for (row, partition) in partitions.into_iter().enumerate() {
                let vector = vectors.map(|vectors| vectors.descriptor(row)).transpose();
                let vector = vector.map_err(|error| self.log.corrupt(error.to_string()))?.flatten();
                let of = |values: Option<&Int64Array>| values.filter(|v| v.is_valid(row)).map(|v| v.value(row));
                files.push(ListedFile {
                    path: path.filter(|p| p.is_valid(row)).map(|p| p.value(row).to_owned()),
                    partition,
                    size_bytes: of(size.as_ref()),
                    modified_ms: of(modified.as_ref()),
                    records: of(records),
                    deleted: vector.map(|vector| vector.cardinality),
                });
            }
        }
        Ok(files)
    }

    /// The partition values of each file as JSON: a text or NULL by the name of each partition column.
    fn partitions_of(&self, batch: &RecordBatch) -> Result<Vec<String>> {
        let columns = &self.version.columns;
        let typed = Batch::new(&self.log, self.cache.stores(), columns, batch);
        let mut objects = vec![Map::new(); batch.num_rows()];
        for column in &columns.partition_columns {
            let text = cast(&typed.constants(*column)?, &DataType::Utf8);
            let text = text.map_err(|error| self.log.corrupt(error.to_string()))?;
            let name = columns.schema.field(*column).name();
            for (value, object) in text.as_string::<i32>().iter().zip(&mut objects) {
                object.insert(name.clone(), value.map_or(Value::Null, Value::from));
            }
        }
        Ok(objects
            .into_iter()
            .map(|object| Value::Object(object).to_string())
            .collect())
    }
}

/// One live file.
struct ListedFile {
    path: Option<String>,
    partition: String,
    size_bytes: Option<i64>,
    modified_ms: Option<i64>,
    /// Rows in the file, deleted ones included.
    records: Option<i64>,
    /// Rows that its deletion vector deletes.
    deleted: Option<i64>,
}

impl ListedFile {
    /// Rows of the table in this file.
    fn live(&self) -> Option<i64> {
        Some(self.records? - self.deleted.unwrap_or(0))
    }
}

fn files_columns(files: &[ListedFile]) -> Vec<(&'static str, ArrayRef)> {
    let path: StringArray = files.iter().map(|file| file.path.as_deref()).collect();
    let partition: StringArray = files.iter().map(|file| Some(&file.partition)).collect();
    let rows: Int64Array = files.iter().map(ListedFile::live).collect();
    let size: Int64Array = files.iter().map(|file| file.size_bytes).collect();
    let deleted: BooleanArray = files.iter().map(|file| Some(file.deleted.is_some())).collect();
    vec![
        ("path", Arc::new(path)),
        ("partition", Arc::new(partition)),
        ("rows", Arc::new(rows)),
        ("size_bytes", Arc::new(size)),
        ("modified", utc(files.iter().map(|file| file.modified_ms))),
        ("has_deletion_vector", Arc::new(deleted)),
    ]
}

fn partitions_columns(files: &[ListedFile]) -> Vec<(&'static str, ArrayRef)> {
    let mut partitions: BTreeMap<&str, (i64, Option<i64>, i64)> = BTreeMap::new();
    for file in files {
        let (count, rows, bytes) = partitions.entry(&file.partition).or_insert((0, Some(0), 0));
        *count += 1;
        *rows = rows.zip(file.live()).and_then(|(sum, rows)| sum.checked_add(rows));
        *bytes = bytes.saturating_add(file.size_bytes.unwrap_or(0));
    }
    let sums = partitions.values();
    let names: StringArray = partitions.keys().map(Some).collect();
    let counts: Int64Array = sums.clone().map(|(count, ..)| Some(*count)).collect();
    let rows: Int64Array = sums.clone().map(|(_, rows, _)| *rows).collect();
    let bytes: Int64Array = sums.map(|(.., bytes)| Some(*bytes)).collect();
    vec![
        ("partition", Arc::new(names)),
        ("files", Arc::new(counts)),
        ("rows", Arc::new(rows)),
        ("size_bytes", Arc::new(bytes)),
    ]
}

/// Milliseconds since the epoch as timestamps.
fn utc(millis: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    let micros: TimestampMicrosecondArray = millis.map(|millis| millis?.checked_mul(1000)).collect();
    Arc::new(micros.with_timezone("UTC"))
}

/// The `commitInfo` of a commit; empty where it has none.
async fn commit_info(log: &Log, commit: &Commit) -> Result<Map<String, Value>> {
    let (path, size) = (&commit.object.location, commit.object.size);
    let head = 0..size.min(SEARCH_BYTES);
    let tail = (size > SEARCH_BYTES).then(|| size - SEARCH_BYTES..size);
    for range in [Some(head), tail]
        .into_iter()
        .flatten()
        .filter(|range| !range.is_empty())
    {
        let read = log.root.store.get_range(path, range).await;
        let bytes = read.map_err(|error| Error::storage(format!("{}{path}", log.root.store_url), error))?;
        for line in bytes.split(|byte| *byte == b'\n') {
            // A line that the range cuts is no JSON.
            let Ok(Value::Object(mut action)) = serde_json::from_slice(line) else {
                continue;
            };
            if let Some(Value::Object(info)) = action.remove("commitInfo") {
                return Ok(info);
            }
        }
    }
    Ok(Map::new())
}

#[cfg(test)]
mod tests;
