//! A Delta log to a [`DeltaSnapshot`], and that to the list of its data files.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::datasource::object_store::ObjectStoreUrl;
use delta_kernel::engine::arrow_conversion::TryIntoArrow;
use delta_kernel::engine::arrow_data::EngineDataArrowExt;
use delta_kernel::scan::{PartitionValuesOptions, StatsOptions};
use delta_kernel::table_features::ColumnMappingMode;
use delta_kernel::{KernelError, SnapshotRef};
use object_store::path::Path;
use percent_encoding::percent_decode_str;
use proto::ColumnMatch;

use super::log::Log;
use crate::error::{Error, Result};
use crate::scan::prune;
use crate::snapshot::{Column, ColumnMapping, DataFile, FileList, FileRequest, FileSet, Pruned, plan_column};
use crate::stores::Stores;

/// Reader features that change nothing for this reader, or that it refuses only where a table makes use of them.
const FEATURES_READ: [&str; 5] = [
    "columnMapping",
    "deletionVectors",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// One version of a Delta table.
#[derive(Debug)]
pub(crate) struct DeltaSnapshot {
    log: Log,
    kernel: SnapshotRef,
    schema: SchemaRef,
    partition_columns: Vec<usize>,
    stores: Arc<Stores>,
}

impl DeltaSnapshot {
    /// The newest version of the table in the folder `location`. Refuses what this reader cannot read right.
    pub(crate) async fn latest(table: String, location: &str, stores: Arc<Stores>) -> Result<Self> {
        let log = Log::new(&stores, &table, location)?;
        let kernel = log.latest().await?;
        let configuration = kernel.table_configuration();
        for feature in configuration.protocol().reader_features().unwrap_or_default() {
            if !FEATURES_READ.contains(&feature.as_ref()) {
                return Err(Error::Unsupported {
                    table,
                    feature: format!("the reader feature {feature}"),
                });
            }
        }
        if configuration.column_mapping_mode() != ColumnMappingMode::None {
            return Err(Error::Unsupported {
                table,
                feature: "column mapping".to_owned(),
            });
        }
        let schema: Schema = kernel
            .schema()
            .as_ref()
            .try_into_arrow()
            .map_err(|error| log.corrupt(error.to_string()))?;
        let schema = Arc::new(Schema::new(
            schema
                .fields()
                .iter()
                .map(|field| plan_column(&without_metadata(field)))
                .collect::<Vec<_>>(),
        ));
        let partition_columns = configuration
            .logical_partition_columns()
            .iter()
            .map(|name| schema.index_of(name));
        let partition_columns = partition_columns
            .collect::<Result<_, _>>()
            .map_err(|error| log.corrupt(error.to_string()))?;
        Ok(Self {
            log,
            kernel,
            schema,
            partition_columns,
            stores,
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn version(&self) -> i64 {
        i64::try_from(self.kernel.version()).unwrap_or(i64::MAX)
    }

    pub(crate) fn property(&self, key: &str) -> Option<String> {
        self.kernel
            .table_configuration()
            .metadata()
            .configuration()
            .get(key)
            .cloned()
    }

    /// The data files that may hold a wanted row.
    pub(crate) async fn files(self: Arc<Self>, request: FileRequest<'_>) -> Result<FileList> {
        let (engine, kernel) = (self.log.engine(), Arc::clone(&self.kernel));
        let replay = move || -> Result<Vec<RecordBatch>, KernelError> {
            let scan = kernel
                .scan_builder()
                .with_stats(StatsOptions::all_struct())
                .with_partition_values(PartitionValuesOptions::with_struct())
                .without_row_transforms()
                .build()?;
            let batches = scan.scan_metadata(&engine)?;
            batches
                .map(|batch| batch?.scan_files.apply_selection_vector()?.try_into_record_batch())
                .collect()
        };
        let mut files = Vec::new();
        for batch in self.log.blocking(replay).await? {
            let rows = FileRows::new(&batch, &self)?;
            for row in 0..batch.num_rows() {
                files.push(rows.file(row, request.wanted)?);
            }
        }
        let constant_columns = self.partition_columns.clone();
        let files_total = files.len() as u64;
        let files = prune::files(files, &constant_columns, &self.schema, request.predicate);
        let pruned = Pruned {
            files_total,
            files_read: files.len() as u64,
            ..Pruned::default()
        };
        Ok(FileList {
            sets: vec![FileSet {
                constant_columns,
                files,
            }],
            equality_deletes: Vec::new(),
            columns: Arc::new(ColumnMapping::by(ColumnMatch::Name)),
            pruned,
        })
    }
}

/// One batch of the kernel's scan files: a row per live file.
struct FileRows<'a> {
    snapshot: &'a DeltaSnapshot,
    path: &'a ArrayRef,
    size: &'a ArrayRef,
    deletion_vector: &'a ArrayRef,
    partition_values: Option<&'a StructArray>,
    raw_partition_values: Option<&'a ArrayRef>,
    stats: Option<&'a StructArray>,
}

impl<'a> FileRows<'a> {
    fn new(batch: &'a RecordBatch, snapshot: &'a DeltaSnapshot) -> Result<Self> {
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .ok_or_else(|| snapshot.log.corrupt(format!("its replay has no column {name}")))
        };
        let constants = batch
            .column_by_name("fileConstantValues")
            .and_then(|c| c.as_struct_opt());
        Ok(Self {
            snapshot,
            path: column("path")?,
            size: column("size")?,
            deletion_vector: column("deletionVector")?,
            partition_values: batch
                .column_by_name("partitionValues_parsed")
                .and_then(|c| c.as_struct_opt()),
            raw_partition_values: constants.and_then(|c| c.column_by_name("partitionValues")),
            stats: batch.column_by_name("stats_parsed").and_then(|c| c.as_struct_opt()),
        })
    }

    fn file(&self, row: usize, wanted: &[usize]) -> Result<DataFile> {
        let path = self
            .path
            .as_string_opt::<i32>()
            .filter(|p| p.is_valid(row))
            .map(|p| p.value(row));
        let path = path.ok_or_else(|| self.snapshot.log.corrupt("a file has no path".to_owned()))?;
        if self.deletion_vector.is_valid(row) {
            let (table, feature) = (self.snapshot.log.table.clone(), "deletion vectors".to_owned());
            return Err(Error::Unsupported { table, feature });
        }
        let size = integer(self.size, row).and_then(|size| u64::try_from(size).ok());
        let constants = self
            .snapshot
            .partition_columns
            .iter()
            .map(|column| self.constant(row, *column));
        let mut columns = vec![Column::default(); self.snapshot.schema.fields().len()];
        for index in wanted {
            columns[*index] = self.bounds(row, *index);
        }
        let (store_url, path) = self.snapshot.locate(path)?;
        Ok(DataFile {
            store_url,
            path,
            size_bytes: size.ok_or_else(|| self.snapshot.log.corrupt("a file has no size".to_owned()))?,
            rows: self
                .stat("numRecords")
                .and_then(|n| integer(n, row))
                .and_then(|n| u64::try_from(n).ok()),
            constants: constants.collect::<Result<_>>()?,
            columns,
            deletes: None,
            sequence: 0,
            table_partition: None,
        })
    }

    fn stat(&self, name: &str) -> Option<&ArrayRef> {
        self.stats?.column_by_name(name)
    }

    fn constant(&self, row: usize, column: usize) -> Result<ScalarValue> {
        let field = self.snapshot.schema.field(column);
        let parsed = self
            .partition_values
            .and_then(|values| values.column_by_name(field.name()));
        let value = parsed.and_then(|values| value_of(values, row, field.data_type()));
        match value {
            Some(value) => Ok(value),
            // The kernel reads what it cannot parse as NULL; only an empty text means NULL.
            None if self
                .raw_partition_value(row, field.name())
                .is_none_or(|raw| raw.is_empty()) =>
            {
                ScalarValue::try_from(field.data_type()).map_err(|error| self.snapshot.log.corrupt(error.to_string()))
            }
            None => {
                let detail = format!(
                    "a file's partition value for {} is no {}",
                    field.name(),
                    field.data_type()
                );
                Err(self.snapshot.log.corrupt(detail))
            }
        }
    }

    fn raw_partition_value(&self, row: usize, name: &str) -> Option<String> {
        let map = self
            .raw_partition_values?
            .as_map_opt()
            .filter(|map| map.is_valid(row))?;
        let entries = map.value(row);
        let (keys, values) = (
            entries.column(0).as_string_opt::<i32>()?,
            entries.column(1).as_string_opt::<i32>()?,
        );
        let position = (0..entries.len()).find(|i| keys.value(*i) == name)?;
        values.is_valid(position).then(|| values.value(position).to_owned())
    }

    fn bounds(&self, row: usize, index: usize) -> Column {
        let field = self.snapshot.schema.field(index);
        let of = |stat: &str| self.stat(stat)?.as_struct_opt()?.column_by_name(field.name());
        let value = |stat: &str| value_of(of(stat)?, row, field.data_type());
        Column {
            lower: value("minValues"),
            upper: value("maxValues").and_then(safe_upper),
            nulls: of("nullCount")
                .and_then(|n| integer(n, row))
                .and_then(|n| u64::try_from(n).ok()),
        }
    }
}

impl DeltaSnapshot {
    /// The store and key of an `add` action's path: percent-encoded, relative to the table or a URL of its own.
    fn locate(&self, path: &str) -> Result<(ObjectStoreUrl, Path)> {
        let decoded = percent_decode_str(path)
            .decode_utf8()
            .map_err(|error| self.log.corrupt(error.to_string()))?;
        if path.contains("://") || path.starts_with('/') || path.starts_with("file:/") {
            let at = self.stores.locate(&decoded)?;
            return Ok((at.store_url, at.path));
        }
        let key = format!("{}/{decoded}", self.log.root.path);
        let path = Path::parse(key).map_err(|error| self.log.corrupt(error.to_string()))?;
        Ok((self.log.root.store_url.clone(), path))
    }
}

/// The format keeps invariants, field ids and the like in a column's metadata: nothing that plans need.
fn without_metadata(field: &Field) -> Field {
    field.clone().with_metadata(HashMap::new())
}

fn integer(values: &ArrayRef, row: usize) -> Option<i64> {
    let values = values.as_primitive_opt::<Int64Type>()?;
    values.is_valid(row).then(|| values.value(row))
}

/// The value of one row as the column's type; `None` where it is NULL or of another kind.
fn value_of(values: &ArrayRef, row: usize, column: &DataType) -> Option<ScalarValue> {
    if !values.is_valid(row) || values.data_type().is_nested() {
        return None;
    }
    ScalarValue::try_from_array(values, row).ok()?.cast_to(column).ok()
}

/// A maximum that surely encloses every value: the log cuts timestamps to milliseconds, and writers differ in whether
/// a NaN, which compares above every number, is a maximum.
fn safe_upper(maximum: ScalarValue) -> Option<ScalarValue> {
    match maximum {
        ScalarValue::Float32(_) | ScalarValue::Float64(_) => None,
        ScalarValue::TimestampMicrosecond(Some(micros), zone) => {
            Some(ScalarValue::TimestampMicrosecond(Some(micros.checked_add(999)?), zone))
        }
        other => Some(other),
    }
}
