//! Opening a data file: its deleted rows become the part of the file that Parquet does not read, and what fails on the
//! way says which file it was.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::errors::ParquetError;

use crate::error::Error;
use crate::scan::deletes::RowDeletes;
use crate::scan::deletes::cache::DeleteLoader;
use crate::scan::deletes::selection::{live_rows, rows};

/// Opens the files of one partition of a scan.
#[derive(Debug)]
pub(super) struct LakeMorselizer {
    /// DataFusion's own, which reads the rows.
    pub(super) parquet: Arc<dyn Morselizer>,
    /// The same readers, for the footers.
    pub(super) readers: Arc<dyn ParquetFileReaderFactory>,
    pub(super) deletes: DeleteLoader,
    /// The store of the files and the table, for messages.
    pub(super) origin: Origin,
    pub(super) partition: usize,
}

/// Where a scan's files come from.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    pub(super) table: Arc<str>,
    pub(super) store_url: Arc<str>,
}

impl Morselizer for LakeMorselizer {
    fn plan_file(&self, mut file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        // The last part of a file takes what lies behind the end that the metadata names: no other part has it.
        if let Some(range) = &mut file.range
            && u64::try_from(range.end).is_ok_and(|end| end >= file.object_meta.size)
        {
            range.end = i64::MAX;
        }
        let Origin { table, store_url } = &self.origin;
        let name = FileName {
            table: Arc::clone(table),
            url: format!("{store_url}{}", file.object_meta.location).into(),
        };
        let planner = match file.extensions.get_arc::<RowDeletes>() {
            None => self.parquet.plan_file(file)?,
            Some(deletes) => Box::new(WithDeletes {
                parquet: Arc::clone(&self.parquet),
                readers: Arc::clone(&self.readers),
                loader: self.deletes.clone(),
                partition: self.partition,
                file,
                deletes,
                name: name.clone(),
            }),
        };
        Ok(Box::new(Named { planner, name }))
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
    name: FileName,
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
            name,
        } = *self;
        let hint = file.metadata_size_hint;
        let uncounted = ExecutionPlanMetricsSet::new();
        let mut reader = readers.create_reader(partition, file.clone(), hint, &uncounted)?;
        let options = ArrowReaderOptions::new();
        let footer = reader.get_metadata(Some(&options)).map_err(DataFusionError::from);
        let (footer, deleted) = futures::try_join!(footer, loader.load(&deletes))?;
        let groups = footer.row_groups();
        let deleted = deleted.of_file(rows(groups).map_err(|detail| name.corrupt(detail))?)?;
        if !deleted.is_empty() {
            let live = live_rows(&deleted, groups, file.range.as_ref());
            file.extensions.insert(live.map_err(|detail| name.corrupt(detail))?);
        }
        parquet.plan_file(file)
    }
}

/// What fails below says which file it was.
#[derive(Debug)]
struct Named<T> {
    planner: T,
    name: FileName,
}

#[derive(Debug, Clone)]
struct FileName {
    table: Arc<str>,
    url: Arc<str>,
}

impl MorselPlanner for Named<Box<dyn MorselPlanner>> {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { planner, name } = *self;
        let Some(mut plan) = planner.plan().map_err(|error| name.error(error))? else {
            return Ok(None);
        };
        let planner = |planner| {
            Box::new(Named {
                planner,
                name: name.clone(),
            }) as Box<dyn MorselPlanner>
        };
        let morsel = |planner| {
            Box::new(Named {
                planner,
                name: name.clone(),
            }) as Box<dyn Morsel>
        };
        let mut named = MorselPlan::new()
            .with_morsels(plan.take_morsels().into_iter().map(morsel).collect())
            .with_planners(plan.take_ready_planners().into_iter().map(planner).collect());
        if let Some(pending) = plan.take_pending_planner() {
            named.set_pending_planner(async move {
                let planner = pending.await.map_err(|error| name.error(error))?;
                Ok(Box::new(Named { planner, name }) as _)
            });
        }
        Ok(Some(named))
    }
}

impl Morsel for Named<Box<dyn Morsel>> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { planner, name } = *self;
        let batches = planner.into_stream();
        batches
            .map(move |batch| batch.map_err(|error| name.error(error)))
            .boxed()
    }
}

impl FileName {
    /// Failures of Parquet itself are damage. What comes from outside knows more than this: readers name the file, and
    /// expressions fail on the values of the file, whose bytes are as they should be.
    fn error(&self, error: DataFusionError) -> DataFusionError {
        let outside = |message: &str| message.starts_with("External: ") || message.starts_with("Arrow: ");
        match &error {
            DataFusionError::ParquetError(inner)
                if !matches!(inner.as_ref(), ParquetError::External(_) | ParquetError::ArrowError(_)) =>
            {
                self.corrupt(inner.to_string()).into()
            }
            DataFusionError::ArrowError(inner, _) => match inner.as_ref() {
                ArrowError::ParquetError(message) if !outside(message) => self.corrupt(message).into(),
                _ => error,
            },
            _ => error,
        }
    }

    fn corrupt(&self, detail: impl Into<String>) -> Error {
        Error::Corrupt {
            table: self.table.to_string(),
            file: self.url.to_string(),
            detail: detail.into(),
        }
    }
}
