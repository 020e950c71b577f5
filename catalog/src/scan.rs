//! A read of one snapshot as a physical plan: list files, prune them, group them, scan them.
//!
//! One path for both formats. What the plan needs to be read right travels in [`source::LakeParquetSource`].

pub(crate) mod adapt;
pub(crate) mod codec;
mod group;
mod prune;
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

use crate::snapshot::{DataFile, FileList, TableSnapshot};
use source::LakeParquetSource;

/// What DataFusion asks of one scan.
pub(crate) struct Request<'a> {
    /// Columns wanted, by position in the snapshot's schema; all when absent.
    pub(crate) projection: Option<&'a Vec<usize>>,
    /// Rows that fail one of these are not needed; all of them are checked again above the scan.
    pub(crate) filters: &'a [Expr],
    /// More rows than this are not needed.
    pub(crate) limit: Option<usize>,
}

/// Plans the scan of `snapshot`.
pub(crate) async fn plan(
    snapshot: &TableSnapshot,
    state: &dyn Session,
    request: Request<'_>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = snapshot.schema();
    let projection = request.projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
    let predicate = match conjunction(request.filters.iter().cloned()) {
        Some(filter) => Some(state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(schema))?)?),
        None => None,
    };
    let mut list = snapshot.files(&wanted_columns(schema, &projection, request.filters)).await?;
    if let Some(predicate) = &predicate {
        list.files = prune::files(list.files, &list.constant_columns, schema, predicate)?;
    }
    if list.files.is_empty() {
        return Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&projection)?))));
    }
    let layout = Layout::new(schema, &list);
    let parts = by_store(std::mem::take(&mut list.files));
    let mut scans = Vec::with_capacity(parts.len());
    for (store_url, files) in parts {
        scans.push(layout.scan(snapshot, state, &projection, (store_url, files), (&list, request.limit))?);
    }
    match scans.len() {
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
    fn new(schema: &SchemaRef, list: &FileList) -> Self {
        let constant = |index: &usize| list.constant_columns.contains(index);
        let in_files: Vec<usize> = (0..schema.fields().len()).filter(|index| !constant(index)).collect();
        let mut positions = vec![0; schema.fields().len()];
        for (position, index) in in_files.iter().chain(&list.constant_columns).enumerate() {
            positions[*index] = position;
        }
        let fields = |indices: &[usize]| -> Vec<FieldRef> {
            indices.iter().map(|index| Arc::clone(&schema.fields()[*index])).collect()
        };
        let file_schema = Arc::new(Schema::new(fields(&in_files)));
        let table_schema =
            TableSchema::builder(file_schema).with_table_partition_cols(fields(&list.constant_columns)).build();
        Self { table_schema, positions }
    }

    fn scan(
        &self,
        snapshot: &TableSnapshot,
        state: &dyn Session,
        projection: &[usize],
        (store_url, files): (ObjectStoreUrl, Vec<DataFile>),
        (list, limit): (&FileList, Option<usize>),
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let options = TableParquetOptions {
            global: state.config_options().execution.parquet.clone(),
            ..TableParquetOptions::default()
        };
        let parquet = ParquetSource::new(self.table_schema.clone()).with_table_parquet_options(options);
        let parquet = source::with_footer_cache(parquet, state.runtime_env(), &store_url)?;
        let partition_field_ids = list.partition_field_ids.clone();
        let source = LakeParquetSource::new(parquet, snapshot.table(), list.column_match, partition_field_ids);
        let statistics = statistics::of_table(&files, &self.positions, snapshot.schema());
        let files = files.into_iter().map(partitioned_file).collect();
        let groups = group::balance(files, state.config().target_partitions());
        let in_scan = projection.iter().map(|index| self.positions[*index]).collect();
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_statistics(statistics)
            .with_projection_indices(Some(in_scan))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

fn partitioned_file(file: DataFile) -> PartitionedFile {
    let mut partitioned = PartitionedFile::new("", file.size_bytes);
    partitioned.object_meta.location = file.path;
    partitioned.partition_values = file.constants;
    partitioned
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
        wanted.extend(filter.column_refs().iter().filter_map(|column| schema.index_of(&column.name).ok()));
    }
    wanted.into_iter().collect()
}
