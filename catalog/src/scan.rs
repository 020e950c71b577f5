//! A read of one snapshot as a physical plan: list files, prune them, group them, scan them.
//!
//! One path for both formats. What the plan needs to be read right travels in [`source::LakeParquetSource`].

pub(crate) mod adapt;
pub(crate) mod codec;
pub(crate) mod deletes;
mod group;
pub(crate) mod prune;
pub(crate) mod source;
mod statistics;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::DFSchema;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use crate::snapshot::{ColumnMapping, DataFile, FileRequest, Pruned, TableSnapshot};
use deletes::cache::DeleteCache;
use source::{Access, LakeParquetSource};

/// What DataFusion asks of one scan.
pub(crate) struct Request<'a> {
    /// Columns wanted, by position in the snapshot's schema; all when absent.
    pub(crate) projection: Option<&'a Vec<usize>>,
    /// Rows that fail one of these are not needed; all of them are checked again above the scan.
    pub(crate) filters: &'a [Expr],
    /// More rows than this are not needed.
    pub(crate) limit: Option<usize>,
}

/// Plans the scan of `snapshot`; its row deletes are kept in `deletes`.
pub(crate) async fn plan(
    snapshot: &TableSnapshot,
    deletes: &Arc<DeleteCache>,
    state: &dyn Session,
    request: Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = snapshot.schema();
    let projection = request
        .projection
        .cloned()
        .unwrap_or_else(|| (0..schema.fields().len()).collect());
    let predicate = match conjunction(request.filters.iter().cloned()) {
        Some(filter) => Some(state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(schema))?)?),
        None => None,
    };
    let wanted = wanted_columns(schema, &projection, request.filters);
    let files = FileRequest {
        wanted: &wanted,
        predicate: predicate.as_ref(),
    };
    let list = snapshot.files(files).await?;
    let scan = Scan {
        snapshot,
        state,
        projection: &projection,
        limit: request.limit,
        columns: list.columns,
        pruned: list.pruned,
        deletes,
    };
    let mut scans = Vec::new();
    for set in list.sets {
        let layout = Layout::new(schema, &set.constant_columns);
        for (store_url, files) in by_store(set.files) {
            scans.push(scan.of_files(&layout, store_url, files)?);
        }
    }
    match scans.len() {
        0 => Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&projection)?)))),
        1 => Ok(scans.swap_remove(0)),
        _ => UnionExec::try_new(scans),
    }
}

/// Where the table's columns stand in a scan: DataFusion wants those of the files first and constants behind them.
struct Layout {
    table_schema: TableSchema,
    /// Position in the table -> position in the scan.
    positions: Vec<usize>,
}

impl Layout {
    fn new(schema: &SchemaRef, constant_columns: &[usize]) -> Self {
        let constant = |index: &usize| constant_columns.contains(index);
        let in_files: Vec<usize> = (0..schema.fields().len()).filter(|index| !constant(index)).collect();
        let mut positions = vec![0; schema.fields().len()];
        for (position, index) in in_files.iter().chain(constant_columns).enumerate() {
            positions[*index] = position;
        }
        let fields = |indices: &[usize]| -> Vec<FieldRef> {
            indices
                .iter()
                .map(|index| Arc::clone(&schema.fields()[*index]))
                .collect()
        };
        let file_schema = Arc::new(Schema::new(fields(&in_files)));
        let table_schema = TableSchema::builder(file_schema)
            .with_table_partition_cols(fields(constant_columns))
            .build();
        Self {
            table_schema,
            positions,
        }
    }
}

/// One scan that is being planned.
struct Scan<'a> {
    snapshot: &'a TableSnapshot,
    state: &'a dyn Session,
    projection: &'a [usize],
    limit: Option<usize>,
    columns: Arc<ColumnMapping>,
    pruned: Pruned,
    deletes: &'a Arc<DeleteCache>,
}

impl Scan<'_> {
    /// The scan of files of one layout that lie in one store.
    fn of_files(
        &self,
        layout: &Layout,
        store_url: ObjectStoreUrl,
        files: Vec<DataFile>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Layout {
            table_schema,
            positions,
        } = layout;
        let mut global = self.state.config_options().execution.parquet.clone();
        // Both formats count microseconds; in nanoseconds, the old encoding of timestamps overflows before 1678.
        global.coerce_int96 = Some("us".to_owned());
        let options = TableParquetOptions {
            global,
            ..TableParquetOptions::default()
        };
        let parquet = ParquetSource::new(table_schema.clone()).with_table_parquet_options(options);
        let access = Access {
            runtime: self.state.runtime_env(),
            store_url: &store_url,
            deletes: self.deletes,
        };
        let source = LakeParquetSource::try_new(parquet, self.snapshot.table(), Arc::clone(&self.columns), access)?
            .with_pruned(self.pruned);
        let statistics = statistics::of_table(&files, positions, self.snapshot.schema());
        let files = files.into_iter().map(partitioned_file).collect();
        let groups = group::balance(files, self.state.config().target_partitions());
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_statistics(statistics)
            .with_projection_indices(Some(self.projection.iter().map(|index| positions[*index]).collect()))?
            .with_limit(self.limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn partitioned_file(file: DataFile) -> PartitionedFile {
    let mut partitioned = source::data_file(file.path, file.size_bytes);
    partitioned.partition_values = file.constants;
    match file.deletes {
        Some(deletes) => source::with_deletes(partitioned, deletes),
        None => partitioned,
    }
}

fn by_store(files: Vec<DataFile>) -> Vec<(ObjectStoreUrl, Vec<DataFile>)> {
    let mut parts: Vec<(ObjectStoreUrl, Vec<DataFile>)> = Vec::new();
    for file in files {
        match parts.iter_mut().find(|(url, _)| *url == file.store_url) {
            Some((_, files)) => files.push(file),
            None => parts.push((file.store_url.clone(), vec![file])),
        }
    }
    parts
}

/// Columns whose bounds can prune a file or inform the optimizer.
fn wanted_columns(schema: &SchemaRef, projection: &[usize], filters: &[Expr]) -> Vec<usize> {
    let mut wanted: BTreeSet<usize> = projection.iter().copied().collect();
    for filter in filters {
        wanted.extend(
            filter
                .column_refs()
                .iter()
                .filter_map(|column| schema.index_of(&column.name).ok()),
        );
    }
    wanted.into_iter().collect()
}
