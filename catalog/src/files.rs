//! Plain files as one table: a file, a folder or a pattern, with the columns that the files themselves name. No table
//! format stands behind them, so there is one version of them: what is there when a statement begins.

mod columns;
mod listing;
mod partitions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Statistics;
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::object_store::ObjectStoreUrl;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::{Error, Result};
use crate::scan::group;
use crate::stores::Stores;

/// What the files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Apache Parquet.
    Parquet,
    /// Comma-separated values; the first line of every file names the columns.
    Csv,
    /// One JSON object per line.
    Json,
}

impl FileKind {
    /// How the names of such files end.
    fn extensions(self) -> &'static [&'static str] {
        match self {
            FileKind::Parquet => &["parquet"],
            FileKind::Csv => &["csv"],
            FileKind::Json => &["json", "jsonl", "ndjson"],
        }
    }

    fn format(self, state: &dyn Session) -> Arc<dyn FileFormat> {
        match self {
            FileKind::Parquet => {
                let mut global = state.config_options().execution.parquet.clone();
                // In nanoseconds, the old encoding of timestamps overflows before 1678.
                global.coerce_int96 = Some("us".to_owned());
                let options = TableParquetOptions {
                    global,
                    ..TableParquetOptions::default()
                };
                Arc::new(ParquetFormat::default().with_options(options))
            }
            // Cutting a file at any end of a line would cut values that have several lines.
            FileKind::Csv => Arc::new(CsvFormat::default().with_has_header(true).with_newlines_in_values(true)),
            FileKind::Json => Arc::new(JsonFormat::default()),
        }
    }
}

/// Files as a table: their own columns, then those that the names of their folders give (`year=2026`).
#[derive(Debug)]
pub struct FilesTable {
    format: Arc<dyn FileFormat>,
    store_url: ObjectStoreUrl,
    schema: TableSchema,
    files: Vec<PartitionedFile>,
}

impl FilesTable {
    /// Lists the files at `location` and reads what columns they have.
    ///
    /// # Errors
    /// [`Error::NotFound`] without any file; [`Error::Corrupt`] and [`Error::Storage`] with the name of the file that
    /// cannot be read; [`Error::Unsupported`] for files that do not make one table.
    pub(crate) async fn open(stores: &Stores, kind: FileKind, location: &str, state: &dyn Session) -> Result<Self> {
        let listing = listing::list(stores, kind, location).await?;
        let partitions = partitions::read(location, &listing)?;
        let format = kind.format(state);
        let columns = columns::read(kind, format.as_ref(), state, location, &listing).await?;
        for partition in &partitions.columns {
            if columns.index_of(partition.name()).is_ok() {
                let feature = format!(
                    "one source for the column \"{}\": it is in the files and in the names of their folders",
                    partition.name()
                );
                let table = location.to_owned();
                return Err(Error::Unsupported { table, feature });
            }
        }
        let files = listing.objects.into_iter().zip(partitions.values);
        let files = files.map(|(object, values)| {
            let mut file = PartitionedFile::from(object);
            file.partition_values = values;
            file
        });
        Ok(Self {
            format,
            store_url: listing.store_url,
            schema: table_schema(columns, partitions.columns),
            files: files.collect(),
        })
    }

    fn statistics(&self) -> Statistics {
        let bytes: u64 = self.files.iter().map(|file| file.object_meta.size).sum();
        let mut statistics = Statistics::new_unknown(self.schema.table_schema());
        statistics.total_byte_size = usize::try_from(bytes).map_or(Precision::Absent, Precision::Inexact);
        statistics
    }
}

fn table_schema(columns: Schema, partitions: Vec<arrow::datatypes::FieldRef>) -> TableSchema {
    TableSchema::builder(Arc::new(columns))
        .with_table_partition_cols(partitions)
        .build()
}

#[async_trait]
impl TableProvider for FilesTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// Parquet files are pruned by filters; rows are filtered above the scan.
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> datafusion::error::Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> datafusion::error::Result<Arc<dyn ExecutionPlan>> {
        let groups = group::balance(self.files.clone(), state.config().target_partitions());
        let source = self.format.file_source(self.schema.clone());
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups.into_iter().map(FileGroup::new).collect())
            .with_statistics(self.statistics())
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        self.format.create_physical_plan(state, config).await
    }
}
