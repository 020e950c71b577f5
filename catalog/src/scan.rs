//! A read of one snapshot as a physical plan: list files, prune them, group them, scan them.
//!
//! One path for both formats. What the plan needs to be read right travels in [`source::LakeParquetSource`].

pub(crate) mod adapt;
pub(crate) mod codec;
pub(crate) mod deletes;
mod equality;
pub(crate) mod group;
pub(crate) mod prune;
pub(crate) mod row_metadata;
pub(crate) mod source;
mod statistics;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::{DFSchema, Statistics, internal_err};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, FileSource, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::union::UnionExec;
use roaring::RoaringTreemap;

use crate::snapshot::{ColumnMapping, DataFile, FileRequest, Pruned, TableSnapshot};
use deletes::cache::DeleteCache;
use deletes::{DeleteSource, RowDeletes};
use equality::EqualityDeletes;
use row_metadata::{RowColumn, RowMetadata};
use source::{Access, LakeParquetSource};

/// Files times columns of a scan up to which each file's bounds travel with it, for filters that come up while it runs.
const FILE_STATISTICS_MAX: usize = 1 << 16;

/// What DataFusion asks of one scan.
pub(crate) struct Request<'a> {
    /// Columns wanted, by position in the snapshot's schema and, behind that, in [`RowColumn::ALL`].
    pub(crate) projection: &'a [usize],
    /// Rows that fail one of these are not needed; all of them are checked again above the scan.
    pub(crate) filters: &'a [Expr],
    /// Rows of data files at other locations are not wanted.
    pub(crate) only: Option<&'a Arc<HashSet<String>>>,
    /// Rows of data files that are not wanted, by the files' locations.
    pub(crate) hidden: Option<&'a HashMap<String, RoaringTreemap>>,
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
    let (projection, of_rows): (Vec<usize>, Vec<usize>) =
        request.projection.iter().partition(|at| **at < schema.fields().len());
    let of_rows = of_rows.iter().map(|at| RowColumn::ALL[at - schema.fields().len()]);
    let rows = RowMetadata {
        asked: of_rows.collect(),
        stored: snapshot.stored_lineage(),
    };
    // Nothing is known beforehand of what is no column of the table.
    let of_table = |filter: &&Expr| {
        let columns = filter.column_refs();
        columns.iter().all(|column| schema.index_of(&column.name).is_ok())
    };
    let predicate = match conjunction(request.filters.iter().filter(of_table).cloned()) {
        Some(filter) => Some(state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(schema))?)?),
        None => None,
    };
    let wanted = wanted_columns(schema, &projection, request.filters);
    let files = FileRequest {
        wanted: &wanted,
        predicate: predicate.as_ref(),
        only: request.only,
        with_origin: !rows.asked.is_empty() || request.hidden.is_some(),
    };
    let mut list = snapshot.files(files).await?;
    if let Some(hidden) = request.hidden {
        let files = list.sets.iter_mut().flat_map(|set| &mut set.files);
        files.into_iter().try_for_each(|file| hide(file, hidden))?;
    }
    let scan = Scan {
        snapshot,
        state,
        projection: &projection,
        rows: &rows,
        columns: list.columns,
        distinct: list.distinct,
        pruned: list.pruned,
        deletes,
    };
    let equality_deletes = EqualityDeletes::new(list.equality_deletes);
    let (mut scans, mut touched) = (Vec::new(), Vec::new());
    for mut set in list.sets {
        let layout = Layout::new(schema.fields(), &set.constant_columns, &[], &rows);
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
    let scan: Arc<dyn ExecutionPlan> = match scans.len() {
        0 => {
            let mut fields = schema.project(&projection)?.fields().to_vec();
            fields.extend(rows.asked.iter().map(|column| Arc::new(column.field())));
            Arc::new(EmptyExec::new(Arc::new(Schema::new(fields))))
        }
        1 => scans.swap_remove(0),
        _ => UnionExec::try_new(scans)?,
    };
    in_order(scan, request.projection, schema.fields().len())
}

/// The file without the rows that are `hidden` in it.
fn hide(file: &mut DataFile, hidden: &HashMap<String, RoaringTreemap>) -> Result<()> {
    let Some(origin) = &file.origin else {
        return internal_err!("a data file without its location");
    };
    let Some(positions) = hidden.get(&origin.location) else {
        return Ok(());
    };
    let mut bitmap = Vec::with_capacity(positions.serialized_size());
    positions.serialize_into(&mut bitmap)?;
    let mut deletes = match &file.deletes {
        Some(deletes) => deletes.as_ref().clone(),
        None => RowDeletes {
            data_file: origin.location.clone(),
            sources: Vec::new(),
        },
    };
    deletes.sources.push(DeleteSource::Inline {
        bitmap,
        cardinality: positions.len(),
    });
    file.deletes = Some(Arc::new(deletes));
    Ok(())
}

/// The columns of `scan`, which has those of the rows behind those of the table, in the order in which they are `asked`.
fn in_order(scan: Arc<dyn ExecutionPlan>, asked: &[usize], table_columns: usize) -> Result<Arc<dyn ExecutionPlan>> {
    let mut sorted: Vec<usize> = (0..asked.len()).collect();
    sorted.sort_by_key(|at| asked[*at] >= table_columns);
    if sorted.is_sorted() {
        return Ok(scan);
    }
    let mut columns = vec![0; asked.len()];
    for (at, place) in sorted.into_iter().enumerate() {
        columns[place] = at;
    }
    let schema = scan.schema();
    let column = |at: usize| {
        let name = schema.field(at).name();
        ProjectionExpr::new(Arc::new(Column::new(name, at)), name)
    };
    let columns: Vec<_> = columns.into_iter().map(column).collect();
    Ok(Arc::new(ProjectionExec::try_new(columns, scan)?))
}

/// Where columns stand in a scan: DataFusion wants those of the files first and constants behind them.
struct Layout {
    table_schema: TableSchema,
    /// Position among the columns, then the hidden constants -> position in the scan.
    positions: Vec<usize>,
    /// Where the columns and the constants that tell of rows begin in the scan.
    of_rows: (usize, usize),
}

impl Layout {
    /// `constant_columns` are positions in `columns`; `hidden` are further constants that no table has. What `rows` needs
    /// stands behind each kind.
    fn new(columns: &[FieldRef], constant_columns: &[usize], hidden: &[FieldRef], rows: &RowMetadata) -> Self {
        let in_files: Vec<usize> = (0..columns.len())
            .filter(|index| !constant_columns.contains(index))
            .collect();
        let file_columns = in_files.len() + rows.in_files().len();
        let mut positions = vec![0; columns.len()];
        for (position, index) in in_files.iter().enumerate() {
            positions[*index] = position;
        }
        for (position, index) in constant_columns.iter().enumerate() {
            positions[*index] = file_columns + position;
        }
        let constants = file_columns + constant_columns.len();
        positions.extend(constants..constants + hidden.len());
        let of_rows = (in_files.len(), constants + hidden.len());
        let of = |indices: &[usize]| {
            indices
                .iter()
                .map(|index| Arc::clone(&columns[*index]))
                .collect::<Vec<_>>()
        };
        let mut constants = of(constant_columns);
        constants.extend(hidden.iter().map(Arc::clone));
        constants.extend(rows.constants());
        let mut in_files = of(&in_files);
        in_files.extend(rows.in_files());
        let table_schema = TableSchema::builder(Arc::new(Schema::new(in_files)))
            .with_table_partition_cols(constants)
            .build();
        Self {
            table_schema,
            positions,
            of_rows,
        }
    }
}

/// One scan that is being planned.
struct Scan<'a> {
    snapshot: &'a TableSnapshot,
    state: &'a dyn Session,
    /// The columns that are asked for, by position in the table.
    projection: &'a [usize],
    /// What is asked besides, and where it is found.
    rows: &'a RowMetadata,
    columns: Arc<ColumnMapping>,
    /// Estimates of the number of distinct values, by position in the table.
    distinct: Arc<BTreeMap<usize, u64>>,
    /// Of the whole list; every scan tells its own share of the files.
    pruned: Pruned,
    deletes: &'a Arc<DeleteCache>,
}

impl Scan<'_> {
    /// The same for delete files, which are not among the data files that planning counts, and of whose rows nothing more
    /// is `asked`.
    fn of_delete_files<'b>(&'b self, asked: &'b RowMetadata) -> Scan<'b> {
        Scan {
            columns: Arc::clone(&self.columns),
            distinct: Arc::default(),
            pruned: Pruned::default(),
            rows: asked,
            ..*self
        }
    }

    /// The scan of files of one layout that lie in one store. `projection` are positions in the layout; what is asked of
    /// rows follows.
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
            of_rows,
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
        let width = table_schema.table_schema().fields().len();
        let statistics = statistics::of_scan(&files, positions, &self.distinct, width);
        let with_statistics = files.len().saturating_mul(positions.len()) <= FILE_STATISTICS_MAX;
        let files = files.into_iter().map(|file| {
            let bounds = with_statistics.then(|| statistics::of_file(&file, positions, width));
            partitioned_file(self.rows.lend(file), bounds)
        });
        let groups = group::balance(files.collect(), self.state.config().target_partitions());
        let mut columns = projection
            .iter()
            .map(|index| {
                let at = positions[*index];
                let name = table_schema.table_schema().field(at).name();
                ProjectionExpr::new(Arc::new(Column::new(name, at)), name)
            })
            .collect::<Vec<_>>();
        columns.extend(self.rows.projection(of_rows.0, of_rows.1)?);
        let Some(source) = source.try_pushdown_projection(&ProjectionExprs::new(columns))? else {
            return internal_err!("a scan that reads all columns");
        };
        let config = FileScanConfigBuilder::new(store_url, source)
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_statistics(statistics)
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
