//! Opening a data file: Parquet skips long runs of its deleted rows, the others are dropped after decoding, and what fails
//! on the way says which file it was.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetFileReaderFactory;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::stream::BoxStream;
use futures::{StreamExt, TryFutureExt, TryStreamExt, future};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::errors::ParquetError;

use crate::error::Error;
use crate::scan::deletes::RowDeletes;
use crate::scan::deletes::cache::DeleteLoader;
use crate::scan::deletes::live::{LiveRows, without_positions};
use crate::scan::deletes::selection::{RowsToRead, rows, rows_to_read};

/// Opens the files of one partition of a scan.
#[derive(Debug)]
pub(super) struct LakeMorselizer {
    /// DataFusion's own, which reads the rows.
    pub(super) parquet: Arc<dyn Morselizer>,
    /// The same, for files with deleted rows.
    pub(super) positioned: Arc<dyn Morselizer>,
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
                positioned: Arc::clone(&self.positioned),
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

/// Gives rows whose positions were counted: what counts them reads one more column, which is dropped.
#[derive(Debug)]
pub(super) struct Counted(pub(super) Arc<dyn Morselizer>);

impl Morselizer for Counted {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let inner = self.0.plan_file(file)?;
        Ok(Box::new(Live { inner, rows: None }))
    }
}

/// A file that has to learn its deleted rows first.
#[derive(Debug)]
struct WithDeletes {
    parquet: Arc<dyn Morselizer>,
    positioned: Arc<dyn Morselizer>,
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
            positioned,
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
        if deleted.positions().is_empty() {
            return parquet.plan_file(file);
        }
        let read = rows_to_read(&deleted, groups, file.range.as_ref());
        let RowsToRead { plan, within } = read.map_err(|detail| name.corrupt(detail))?;
        let rows = LiveRows::new(deleted.positions(), within)?;
        file.extensions.insert(plan);
        let inner = positioned.plan_file(file)?;
        let rows = Some(rows);
        Ok(Box::new(Live { inner, rows }))
    }
}

/// What is read below loses its deleted rows, of which there may be none, and its positions.
#[derive(Debug)]
struct Live<T> {
    inner: T,
    rows: Option<LiveRows>,
}

impl MorselPlanner for Live<Box<dyn MorselPlanner>> {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, rows } = *self;
        let planner = {
            let rows = rows.clone();
            move |inner| {
                let rows = rows.clone();
                Box::new(Live { inner, rows }) as Box<dyn MorselPlanner>
            }
        };
        let morsel = move |inner| {
            let rows = rows.clone();
            Box::new(Live { inner, rows }) as Box<dyn Morsel>
        };
        Ok(inner.plan()?.map(|plan| wrapped(plan, planner, morsel)))
    }
}

impl Morsel for Live<Box<dyn Morsel>> {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, rows } = *self;
        let live = inner.into_stream().map(move |batch| match &rows {
            Some(rows) => rows.of(&batch?),
            None => without_positions(&batch?),
        });
        live.try_filter(|batch| future::ready(batch.num_rows() > 0)).boxed()
    }
}

/// The plan with every planner and morsel of it put into another one.
fn wrapped(
    mut plan: MorselPlan,
    planner: impl Fn(Box<dyn MorselPlanner>) -> Box<dyn MorselPlanner> + Send + 'static,
    morsel: impl Fn(Box<dyn Morsel>) -> Box<dyn Morsel>,
) -> MorselPlan {
    let mut outer = MorselPlan::new()
        .with_morsels(plan.take_morsels().into_iter().map(morsel).collect())
        .with_planners(plan.take_ready_planners().into_iter().map(&planner).collect());
    if let Some(pending) = plan.take_pending_planner() {
        outer.set_pending_planner(pending.map_ok(planner));
    }
    outer
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
        if let Some(pending) = plan.take_pending_planner() {
            let name = name.clone();
            plan.set_pending_planner(pending.map_err(move |error| name.error(error)));
        }
        let within = {
            let name = name.clone();
            move |planner| {
                let name = name.clone();
                Box::new(Named { planner, name }) as Box<dyn MorselPlanner>
            }
        };
        let morsel = move |planner| {
            let name = name.clone();
            Box::new(Named { planner, name }) as Box<dyn Morsel>
        };
        Ok(Some(wrapped(plan, within, morsel)))
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
