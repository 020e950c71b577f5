//! A version of a Delta table as scans see it.

pub(super) mod history;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::sum;
use arrow::datatypes::{DataType, Field, Int64Type, SchemaRef};
use datafusion::common::runtime::SpawnedTask;
use delta_kernel::schema::{MetadataValue, StructField};
use delta_kernel::table_features::ColumnMappingMode;

use super::cache::{DeltaCache, Version};
use super::columns::PHYSICAL_NAME;
use super::commit::create::COMMENT;
use super::files;
use super::log::Log;
use super::statistics::StatsParser;
use crate::error::Result;
use crate::snapshot::{AsOf, ColumnMapping, Comments, FileList, FileRequest, FileSet, Pruned, StoredLineage};

/// Table properties that name the columns of data files in which rows keep their ids and the versions that changed them.
const ROW_ID_COLUMN: &str = "delta.rowTracking.materializedRowIdColumnName";
const ROW_COMMIT_VERSION_COLUMN: &str = "delta.rowTracking.materializedRowCommitVersionColumnName";

/// One version of a Delta table.
#[derive(Debug)]
pub(crate) struct DeltaSnapshot {
    pub(super) log: Log,
    pub(super) version: Arc<Version>,
    pub(super) cache: DeltaCache,
}

impl DeltaSnapshot {
    /// The version of the table in the folder `location` that `as_of` asks for. Refuses what this reader cannot read
    /// right.
    pub(crate) async fn at(table: String, location: &str, as_of: &AsOf, cache: &DeltaCache) -> Result<Self> {
        let log = Log::new(cache.stores(), &table, location)?;
        let version = match as_of {
            AsOf::Latest | AsOf::Branch(_) => cache.latest(&log).await?,
            AsOf::Version(version) => history::of_number(&log, cache, *version).await?,
            AsOf::Timestamp(micros) => history::of_time(&log, cache, *micros).await?,
            AsOf::Ref(name) => {
                return Err(log.unsupported(format!("the branch or tag \"{name}\", which Delta has not")));
            }
        };
        Ok(Self {
            log,
            version,
            cache: cache.clone(),
        })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.version.columns.schema
    }

    pub(crate) fn version(&self) -> i64 {
        i64::try_from(self.version.number()).unwrap_or(i64::MAX)
    }

    pub(crate) fn property(&self, key: &str) -> Option<String> {
        self.version.kernel.metadata_configuration().get(key).cloned()
    }

    pub(crate) fn comments(&self) -> Comments {
        let kernel = &self.version.kernel;
        let of_column = |field: &StructField| match field.metadata().get(COMMENT) {
            Some(MetadataValue::String(comment)) => Some(comment.clone()),
            _ => None,
        };
        Comments {
            table: kernel.table_configuration().metadata().description().map(str::to_owned),
            columns: kernel.schema().fields().map(of_column).collect(),
        }
    }

    /// The columns that the table's properties name for what rows took over.
    pub(crate) fn stored_lineage(&self) -> StoredLineage {
        StoredLineage::known_by([ROW_ID_COLUMN, ROW_COMMIT_VERSION_COLUMN].map(|property| {
            let name = self.property(property).unwrap_or_default();
            HashMap::from([(PHYSICAL_NAME.to_owned(), name)])
        }))
    }

    /// These columns as new data files have them.
    pub(crate) fn stored_columns(&self) -> Result<[Field; 2]> {
        let missing = || {
            self.log
                .unsupported("row ids that have no columns in its files".to_owned())
        };
        // By id, no column is known that the schema does not have.
        if self.version.kernel.table_configuration().column_mapping_mode() == ColumnMappingMode::Id {
            return Err(self
                .log
                .unsupported("row ids in files whose columns go by their ids".to_owned()));
        }
        let column = |property: &str| {
            let name = self
                .property(property)
                .filter(|name| !name.is_empty())
                .ok_or_else(missing)?;
            Ok(Field::new(name, DataType::Int64, true))
        };
        Ok([column(ROW_ID_COLUMN)?, column(ROW_COMMIT_VERSION_COLUMN)?])
    }

    /// The sizes of all files together.
    pub(crate) async fn bytes(&self) -> Result<u64> {
        let batches = self.cache.files(&self.log, &self.version).await?;
        let bytes = batches.iter().map(|batch| {
            let files = batch.files();
            let sizes = files
                .column_by_name("size")
                .and_then(|sizes| sizes.as_primitive_opt::<Int64Type>());
            sizes.and_then(sum).map_or(0, i64::unsigned_abs)
        });
        Ok(bytes.sum())
    }

    /// The data files that may hold a wanted row.
    pub(crate) async fn files(self: Arc<Self>, request: FileRequest<'_>) -> Result<FileList> {
        let batches = self.cache.files(&self.log, &self.version).await?;
        let files_total = batches.iter().map(|batch| batch.files().num_rows() as u64).sum();
        let (wanted, predicate) = (request.wanted.to_vec(), request.predicate.cloned());
        let (only, with_origin) = (request.only.cloned(), request.with_origin);
        let (snapshot, engine) = (Arc::clone(&self), self.log.engine());
        let files = SpawnedTask::spawn_blocking(move || {
            let (log, stores, columns) = (&snapshot.log, snapshot.cache.stores(), &snapshot.version.columns);
            let mut list = Vec::new();
            let parser = || StatsParser::new(&engine, &snapshot.version.kernel);
            let request = FileRequest {
                wanted: &wanted,
                predicate: predicate.as_ref(),
                only: only.as_ref(),
                with_origin,
            };
            for batch in batches.iter() {
                list.extend(files::files((log, stores, columns), batch, parser, request)?);
            }
            Ok(list)
        });
        let files = files.await.map_err(|panic| self.log.corrupt(panic.to_string()))??;
        let columns = &self.version.columns;
        let pruned = Pruned {
            files_total,
            files_read: files.len() as u64,
            ..Pruned::default()
        };
        Ok(FileList {
            sets: vec![FileSet {
                constant_columns: columns.partition_columns.clone(),
                files,
            }],
            equality_deletes: Vec::new(),
            columns: Arc::new(ColumnMapping::by(columns.column_match)),
            distinct: Arc::default(),
            pruned,
        })
    }
}

#[cfg(test)]
mod tests;
