//! The file source of every lake scan: DataFusion's Parquet source, plus how table columns are found in files.
//!
//! DataFusion's wire form of a Parquet scan drops whatever is added to it without an error, so this source has none:
//! [`super::codec::LakeCodec`] ships it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, SortOrderPushdownResult};
use datafusion_datasource::morsel::Morselizer;
use object_store::ObjectStore;

use super::adapt::LakeExprAdapterFactory;
use crate::snapshot::ColumnMapping;

/// Reads the data files of one table.
#[derive(Clone)]
pub(crate) struct LakeParquetSource {
    parquet: Arc<dyn FileSource>,
    columns: Arc<LakeExprAdapterFactory>,
}

impl LakeParquetSource {
    /// A source that reads every column.
    pub(crate) fn new(parquet: ParquetSource, table: &str, columns: Arc<ColumnMapping>) -> Self {
        Self {
            parquet: Arc::new(parquet),
            columns: Arc::new(LakeExprAdapterFactory::new(table, columns)),
        }
    }

    /// DataFusion's own source inside this one.
    pub(crate) fn parquet(&self) -> &Arc<dyn FileSource> {
        &self.parquet
    }

    /// How columns are found in files.
    pub(crate) fn columns(&self) -> &LakeExprAdapterFactory {
        &self.columns
    }

    fn with_parquet(&self, parquet: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self {
            parquet,
            columns: Arc::clone(&self.columns),
        })
    }
}

/// `parquet` with file footers kept in the process's cache, which is bounded by the runtime's own limit.
pub(crate) fn with_footer_cache(
    parquet: ParquetSource,
    runtime: &RuntimeEnv,
    store_url: &ObjectStoreUrl,
) -> Result<ParquetSource> {
    let store = runtime.object_store(store_url)?;
    let cache = runtime.cache_manager.get_file_metadata_cache();
    Ok(parquet.with_parquet_file_reader_factory(Arc::new(CachedParquetFileReaderFactory::new(store, cache))))
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
        self.parquet.create_morselizer(store, &config, partition)
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
        let mut pushed = self.parquet.try_pushdown_filters(filters, config)?;
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
                inner: self.with_parquet(inner),
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
