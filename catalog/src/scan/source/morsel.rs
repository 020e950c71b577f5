//! Opening a data file: its deleted rows become the part of the file that Parquet does not read.

use std::sync::Arc;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::morsel::{MorselPlan, MorselPlanner, Morselizer};
use parquet::arrow::arrow_reader::ArrowReaderOptions;

use crate::scan::deletes::RowDeletes;
use crate::scan::deletes::cache::DeleteLoader;
use crate::scan::deletes::selection::live_rows;

/// Opens the files of one partition of a scan.
#[derive(Debug)]
pub(super) struct LakeMorselizer {
    /// DataFusion's own, which reads the rows.
    pub(super) parquet: Arc<dyn Morselizer>,
    /// The same readers, for the footers.
    pub(super) readers: Arc<dyn ParquetFileReaderFactory>,
    pub(super) deletes: DeleteLoader,
    pub(super) partition: usize,
}

impl Morselizer for LakeMorselizer {
    fn plan_file(&self, mut file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        // The last part of a file takes what lies behind the end that the metadata names: no other part has it.
        if let Some(range) = &mut file.range
            && u64::try_from(range.end).is_ok_and(|end| end >= file.object_meta.size)
        {
            range.end = i64::MAX;
        }
        match file.extensions.get_arc::<RowDeletes>() {
            None => self.parquet.plan_file(file),
            Some(deletes) => Ok(Box::new(WithDeletes {
                parquet: Arc::clone(&self.parquet),
                readers: Arc::clone(&self.readers),
                loader: self.deletes.clone(),
                partition: self.partition,
                file,
                deletes,
            })),
        }
    }
}

/// A file that has to learn its deleted rows first.
#[derive(Debug)]
struct WithDeletes {
    parquet: Arc<dyn Morselizer>,
    readers: Arc<dyn ParquetFileReaderFactory>,
    loader: DeleteLoader,
    partition: usize,
    file: PartitionedFile,
    deletes: Arc<RowDeletes>,
}

impl MorselPlanner for WithDeletes {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        Ok(Some(MorselPlan::new().with_pending_planner(self.load())))
    }
}

impl WithDeletes {
    /// The footer and the deletes are read at the same time; the footer stays in the cache, where Parquet finds it.
    async fn load(self: Box<Self>) -> Result<Box<dyn MorselPlanner>> {
        let Self {
            parquet,
            readers,
            loader,
            partition,
            mut file,
            deletes,
        } = *self;
        let hint = file.metadata_size_hint;
        let uncounted = ExecutionPlanMetricsSet::new();
        let mut reader = readers.create_reader(partition, file.clone(), hint, &uncounted)?;
        let options = ArrowReaderOptions::new();
        let footer = async { reader.get_metadata(Some(&options)).await.map_err(DataFusionError::from) };
        let (footer, deleted) = futures::try_join!(footer, loader.load(&deletes))?;
        let groups = footer.row_groups();
        let deleted = deleted.of_file(groups)?;
        if !deleted.is_empty() {
            let live = live_rows(&deleted, groups, file.range.as_ref())?;
            file.extensions.insert(live);
        }
        parquet.plan_file(file)
    }
}
