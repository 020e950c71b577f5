//! The file source of every lake scan: DataFusion's Parquet source, plus how table columns are found in files and which
//! rows are deleted from them.
//!
//! DataFusion's wire form of a Parquet scan drops whatever is added to it without an error, so this source has none:
//! [`super::codec::LakeCodec`] ships it.

mod morsel;
pub(crate) mod reader;

use std::fmt;
use std::sync::Arc;

use arrow::compute::SortOptions;
use arrow::datatypes::FieldRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::functions::core::file_row_index;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::projection::{ProjectionExpr, ProjectionExprs};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::Morselizer;
use object_store::ObjectStore;
use object_store::path::Path;

use super::adapt::LakeExprAdapterFactory;
use super::deletes::RowDeletes;
use super::deletes::cache::{DeleteCache, DeleteLoader};
use super::row_metadata::{is_position, reads_positions};
use crate::snapshot::{ColumnMapping, Pruned};
use morsel::{Counted, LakeMorselizer, Origin};
use reader::LakeReaderFactory;

/// Reads the data files of one table.
#[derive(Clone)]
pub(crate) struct LakeParquetSource {
    parquet: Arc<dyn FileSource>,
    columns: Arc<LakeExprAdapterFactory>,
    readers: Arc<dyn ParquetFileReaderFactory>,
    deletes: DeleteLoader,
    pruned: Pruned,
    read_order: Vec<SortKey>,
}

/// How a scan reaches bytes: data files in one store, delete files in any, and what the process keeps of both.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access<'a> {
    /// Knows every store, and keeps footers within its own limit.
    pub(crate) runtime: &'a RuntimeEnv,
    /// The store of the data files.
    pub(crate) store_url: &'a ObjectStoreUrl,
    /// Keeps row deletes.
    pub(crate) deletes: &'a Arc<DeleteCache>,
}

/// A column by which row groups are best read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SortKey {
    /// Its name in the table.
    pub(crate) column: String,
    /// Direction, and the place of NULLs.
    pub(crate) options: SortOptions,
}

impl LakeParquetSource {
    /// A source that reads every column. `table` is the table's name, for messages.
    pub(crate) fn try_new(
        parquet: ParquetSource,
        table: &str,
        columns: Arc<ColumnMapping>,
        access: Access<'_>,
    ) -> Result<Self> {
        let Access {
            runtime,
            store_url,
            deletes,
        } = access;
        let name: Arc<str> = table.into();
        let store = runtime.object_store(store_url)?;
        let footers = runtime.cache_manager.get_file_metadata_cache();
        let readers = LakeReaderFactory::new(Arc::clone(&name), store_url.clone(), store, Some(footers))
            .with_metadata_size_hint(parquet.table_parquet_options().global.metadata_size_hint);
        let readers: Arc<dyn ParquetFileReaderFactory> = Arc::new(readers);
        let stores = Arc::clone(&runtime.object_store_registry);
        Ok(Self {
            parquet: Arc::new(parquet.with_parquet_file_reader_factory(Arc::clone(&readers))),
            columns: Arc::new(LakeExprAdapterFactory::new(table, columns)),
            readers,
            deletes: DeleteLoader::new(Arc::clone(deletes), stores, name),
            pruned: Pruned::default(),
            read_order: Vec::new(),
        })
    }

    /// Shows in plans what planning dropped.
    pub(crate) fn with_pruned(self, pruned: Pruned) -> Self {
        Self { pruned, ..self }
    }

    /// Reads row groups in about this order, as [`FileSource::try_pushdown_sort`] does.
    pub(crate) fn with_read_order(self, read_order: &[SortKey]) -> Result<Self> {
        let schema = self.table_schema().table_schema();
        let sort_expr = |key: &SortKey| {
            let column = Column::new_with_schema(&key.column, schema)?;
            Ok(PhysicalSortExpr::new(Arc::new(column), key.options))
        };
        let order = read_order.iter().map(sort_expr).collect::<Result<Vec<_>>>()?;
        let unordered = EquivalenceProperties::new(Arc::clone(schema));
        Ok(match self.parquet.try_pushdown_sort(&order, &unordered)? {
            SortOrderPushdownResult::Inexact { inner } => self.in_order(inner, &order),
            SortOrderPushdownResult::Exact { .. } | SortOrderPushdownResult::Unsupported => self,
        })
    }

    /// DataFusion's own source inside this one.
    pub(crate) fn parquet(&self) -> &Arc<dyn FileSource> {
        &self.parquet
    }

    /// How columns are found in files.
    pub(crate) fn columns(&self) -> &LakeExprAdapterFactory {
        &self.columns
    }

    /// What planning dropped.
    pub(crate) fn pruned(&self) -> Pruned {
        self.pruned
    }

    /// The order in which row groups are best read, most significant first; empty where there is none.
    pub(crate) fn read_order(&self) -> &[SortKey] {
        &self.read_order
    }

    fn with_parquet(&self, parquet: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self {
            parquet,
            ..self.clone()
        })
    }

    /// DataFusion's own source with one more column at the end: the position of each row in its file.
    fn with_positions(&self) -> Result<Arc<dyn FileSource>> {
        let table = self.parquet.table_schema().table_schema();
        let schema = match self.parquet.projection() {
            Some(projection) => projection.project_schema(table)?,
            None => table.as_ref().clone(),
        };
        let column = |(at, field): (usize, &FieldRef)| {
            let column = Column::new(field.name(), at);
            ProjectionExpr::new(Arc::new(column), field.name())
        };
        let mut columns: Vec<ProjectionExpr> = schema.fields().iter().enumerate().map(column).collect();
        let position = file_row_index();
        let name = position.name().to_owned();
        let position = ScalarFunctionExpr::try_new(position, Vec::new(), &schema, Arc::default())?;
        columns.push(ProjectionExpr::new(Arc::new(position), name));
        match self.parquet.try_pushdown_projection(&ProjectionExprs::new(columns))? {
            Some(positioned) => Ok(positioned),
            None => internal_err!("a source without row positions"),
        }
    }

    /// Row groups have bounds of plain columns only: what follows another expression cannot help.
    fn in_order(&self, parquet: Arc<dyn FileSource>, order: &[PhysicalSortExpr]) -> Self {
        let key = |sort: &PhysicalSortExpr| {
            let column = sort.expr.downcast_ref::<Column>()?;
            Some(SortKey {
                column: column.name().to_owned(),
                options: sort.options,
            })
        };
        Self {
            parquet,
            read_order: order.iter().map_while(key).collect(),
            ..self.clone()
        }
    }
}

/// A data file. One that the metadata says is empty counts a byte: files of none are left out when a scan is split, and
/// the metadata may be wrong.
pub(crate) fn data_file(path: Path, size_bytes: u64) -> PartitionedFile {
    let mut file = PartitionedFile::new("", size_bytes.max(1));
    file.object_meta.location = path;
    file
}

/// The file without its deleted rows.
pub(crate) fn with_deletes(mut file: PartitionedFile, deletes: Arc<RowDeletes>) -> PartitionedFile {
    file.extensions.insert_arc(deletes);
    file
}

impl FileSource for LakeParquetSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.parquet.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let mut config = config.clone();
        config.expr_adapter_factory = Some(Arc::clone(&self.columns) as _);
        let parquet = self.parquet.create_morselizer(Arc::clone(&store), &config, partition)?;
        // Rows are dropped after decoding: only who counts what is left may stop at the limit.
        config.limit = None;
        let positioned = self.with_positions()?.create_morselizer(store, &config, partition)?;
        let positioned: Arc<dyn Morselizer> = positioned.into();
        let in_files = self.table_schema().file_schema();
        let parquet: Arc<dyn Morselizer> = match in_files.fields().iter().any(|field| is_position(field)) {
            // Only with positions of its own does the reader count rows.
            true => Arc::new(Counted(Arc::clone(&positioned))),
            false => parquet.into(),
        };
        Ok(Box::new(LakeMorselizer {
            parquet,
            positioned,
            readers: Arc::clone(&self.readers),
            deletes: self.deletes.clone(),
            origin: Origin {
                table: self.columns.table().into(),
                store_url: config.object_store_url.as_str().into(),
            },
            partition,
        }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.parquet.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.with_parquet(self.parquet.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.parquet.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.parquet.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.parquet.metrics()
    }

    fn file_type(&self) -> &str {
        self.parquet.file_type()
    }

    fn fmt_extra(&self, display: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, ", table={}", self.columns.table())?;
        let Pruned {
            manifests_total,
            manifests_read,
            files_total,
            files_read,
        } = self.pruned;
        if manifests_total > 0 {
            write!(f, ", manifests={manifests_read}/{manifests_total}")?;
        }
        if files_total > 0 {
            write!(f, ", files={files_read}/{files_total}")?;
        }
        self.parquet.fmt_extra(display, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.parquet.supports_repartitioning()
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        // Rows are counted where they are decoded: a filter over their positions comes after.
        let mut held_back = Vec::with_capacity(filters.len());
        for filter in &filters {
            held_back.push(reads_positions(filter)?);
        }
        let mut at = held_back.iter();
        let filters = filters.into_iter().filter(|_| at.next() == Some(&false)).collect();
        let mut pushed = self.parquet.try_pushdown_filters(filters, config)?;
        let mut outcomes = pushed.filters.into_iter();
        let outcome = |held_back| match held_back {
            true => Some(PushedDown::No),
            false => outcomes.next(),
        };
        pushed.filters = held_back.into_iter().filter_map(outcome).collect();
        pushed.updated_node = pushed.updated_node.map(|parquet| self.with_parquet(parquet));
        Ok(pushed)
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        Ok(match self.parquet.try_pushdown_sort(order, properties)? {
            SortOrderPushdownResult::Exact { inner } => SortOrderPushdownResult::Exact {
                inner: self.with_parquet(inner),
            },
            SortOrderPushdownResult::Inexact { inner } => SortOrderPushdownResult::Inexact {
                inner: Arc::new(self.in_order(inner, order)),
            },
            SortOrderPushdownResult::Unsupported => SortOrderPushdownResult::Unsupported,
        })
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.parquet.reorder_files(files)
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.parquet.try_pushdown_projection(projection)?;
        Ok(pushed.map(|parquet| self.with_parquet(parquet)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.parquet.apply_expressions(f)
    }
}

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
