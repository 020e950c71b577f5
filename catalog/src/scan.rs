//! A read of one snapshot as a physical plan: list files, prune them, group them, scan them.
//!
//! One path for both formats. What the plan needs to be read right travels in [`source::LakeParquetSource`].

pub(crate) mod adapt;
pub(crate) mod codec;
pub(crate) mod deletes;
mod equality;
pub(crate) mod group;
pub(crate) mod prune;
pub(crate) mod source;
mod statistics;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DFSchema, Statistics};
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
use equality::EqualityDeletes;
use source::{Access, LakeParquetSource};

/// Files times columns of a scan up to which each file's bounds travel with it, for filters that come up while it runs.
const FILE_STATISTICS_MAX: usize = 1 << 16;

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
        columns: list.columns,
        pruned: list.pruned,
        deletes,
    };
    let equality_deletes = EqualityDeletes::new(list.equality_deletes);
    let (mut scans, mut touched) = (Vec::new(), Vec::new());
    for mut set in list.sets {
        let layout = Layout::new(schema.fields(), &set.constant_columns, &[]);
        for part in by_store(equality_deletes.take_untouched(&mut set)) {
            scans.push(scan.of_files(&layout, part, &projection, request.limit)?);
        }
        if !set.files.is_empty() {
            touched.push(set);
        }
    }
    if !touched.is_empty() {
        scans.push(equality_deletes.surviving(&scan, touched)?);
    }
    match scans.len() {
        0 => Ok(Arc::new(EmptyExec::new(Arc::new(schema.project(&projection)?)))),
        1 => Ok(scans.swap_remove(0)),
        _ => UnionExec::try_new(scans),
    }
}

/// Where columns stand in a scan: DataFusion wants those of the files first and constants behind them.
struct Layout {
    table_schema: TableSchema,
    /// Position among the columns, then the hidden constants -> position in the scan.
    positions: Vec<usize>,
}

impl Layout {
    /// `constant_columns` are positions in `columns`; `hidden` are further constants that no table has.
    fn new(columns: &[FieldRef], constant_columns: &[usize], hidden: &[FieldRef]) -> Self {
        let in_files: Vec<usize> = (0..columns.len())
            .filter(|index| !constant_columns.contains(index))
            .collect();
        let mut positions = vec![0; columns.len()];
        for (position, index) in in_files.iter().chain(constant_columns).enumerate() {
            positions[*index] = position;
        }
        positions.extend(columns.len()..columns.len() + hidden.len());
        let of = |indices: &[usize]| {
            indices
                .iter()
                .map(|index| Arc::clone(&columns[*index]))
                .collect::<Vec<_>>()
        };
        let mut constants = of(constant_columns);
        constants.extend(hidden.iter().map(Arc::clone));
        let table_schema = TableSchema::builder(Arc::new(Schema::new(of(&in_files))))
            .with_table_partition_cols(constants)
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
    /// The columns that are asked for, by position in the table.
    projection: &'a [usize],
    columns: Arc<ColumnMapping>,
    /// Of the whole list; every scan tells its own share of the files.
    pruned: Pruned,
    deletes: &'a Arc<DeleteCache>,
}

impl Scan<'_> {
    /// The same for delete files, which are not among the data files that planning counts.
    fn of_delete_files(&self) -> Self {
        Self {
            columns: Arc::clone(&self.columns),
            pruned: Pruned::default(),
            ..*self
        }
    }

    /// The scan of files of one layout that lie in one store. `projection` are positions in the layout.
    fn of_files(
        &self,
        layout: &Layout,
        (store_url, files): (ObjectStoreUrl, Vec<DataFile>),
        projection: &[usize],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let Layout {
            table_schema,
            positions,
        } = layout;
        let mut global = self.state.config_options().execution.parquet.clone();
        // Both formats count microseconds; in nanoseconds, the old encoding of timestamps overflows before 1678. It counts
        // from an instant, as columns with a zone do.
        global.coerce_int96 = Some("us".to_owned());
        global.coerce_int96_tz = Some("UTC".to_owned());
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
        let pruned = Pruned {
            files_read: files.len() as u64,
            ..self.pruned
        };
        let source = LakeParquetSource::try_new(parquet, self.snapshot.table(), Arc::clone(&self.columns), access)?
            .with_pruned(pruned);
        let statistics = statistics::of_scan(&files, positions);
        let with_statistics = files.len().saturating_mul(positions.len()) <= FILE_STATISTICS_MAX;
        let files = files.into_iter().map(|file| {
            let bounds = with_statistics.then(|| statistics::of_file(&file, positions));
            partitioned_file(file, bounds)
        });
        let groups = group::balance(files.collect(), self.state.config().target_partitions());
        let config = FileScanConfigBuilder::new(store_url, Arc::new(source))
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_statistics(statistics)
            .with_projection_indices(Some(projection.iter().map(|index| positions[*index]).collect()))?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// `bounds` are set as they are: DataFusion's own setter would claim that no constant is NULL.
fn partitioned_file(file: DataFile, bounds: Option<Statistics>) -> PartitionedFile {
    let mut partitioned = source::data_file(file.path, file.size_bytes);
    partitioned.partition_values = file.constants;
    partitioned.statistics = bounds.map(Arc::new);
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
