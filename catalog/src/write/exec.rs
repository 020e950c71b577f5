//! The node that writes rows as data files, each partition where it runs, and the node below it that tells the table
//! partitions of rows.
//!
//! ```text
//! rows ─► PartitionValuesExec ─► (shuffle, sort) ─► LakeWriteExec ─► a row per file, a row per file with deleted rows
//! ```
//! A row that is written has the table's columns. Where rows also leave the table, three columns more stand behind them:
//! what is done, and the file and the position of the row that leaves. Partition values stand last.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch, partition};
use arrow::datatypes::{DataType, Field, Int8Type, Int64Type, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    EquivalenceProperties, LexRequirement, OrderingRequirements, PhysicalExpr, PhysicalSortRequirement,
};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties, InputDistributionRequirements,
    Partitioning, PlanProperties,
};
use futures::{StreamExt, TryStreamExt, stream};
use roaring::RoaringTreemap;

use super::message::WriteOutput;
use super::parquet::Writer;
use super::partition;
use super::target::WriteTarget;
use crate::error::Error;
use crate::stores;

/// What is done with a row: the values of the column behind the table's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum RowAction {
    /// It joins the table.
    Insert = 1,
    /// It leaves the table; its own values do not matter.
    Delete = 2,
    /// It joins the table in the place of the row that is named.
    Update = 3,
}

/// The columns of a writer's output: one encoded [`WriteOutput`] per row.
pub(crate) static OUTPUT_SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("output", DataType::Binary, false)])));

/// Columns behind the table's where rows leave it: what is done, the file, the position.
const ROW_COLUMNS: usize = 3;

/// Adds the partition values of each row behind its columns.
#[derive(Debug)]
pub(crate) struct PartitionValuesExec {
    input: Arc<dyn ExecutionPlan>,
    target: Arc<WriteTarget>,
    properties: Arc<PlanProperties>,
}

impl PartitionValuesExec {
    /// Over rows whose first columns are those of the table.
    pub(crate) fn new(input: Arc<dyn ExecutionPlan>, target: Arc<WriteTarget>) -> Self {
        let mut fields: Vec<_> = input.schema().fields().iter().map(Arc::clone).collect();
        for (index, field) in target.partition.iter().enumerate() {
            let source = target.table_schema.field(field.column).data_type();
            let name = format!("partition {index}");
            fields.push(Arc::new(Field::new(name, field.transform.result_type(source), true)));
        }
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::new(Schema::new(fields))),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        );
        Self {
            input,
            target,
            properties: Arc::new(properties),
        }
    }

    pub(crate) fn target(&self) -> &WriteTarget {
        &self.target
    }
}

impl ExecutionPlan for PartitionValuesExec {
    fn name(&self) -> &'static str {
        "PartitionValuesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input, Arc::clone(&self.target)))),
            None => Ok(self),
        }
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (schema, target) = (self.schema(), Arc::clone(&self.target));
        let output = Arc::clone(&schema);
        let rows = self.input.execute(partition, context)?.map(move |batch| {
            let batch = batch?;
            let mut columns = batch.columns().to_vec();
            for field in &target.partition {
                let source = plan_typed(batch.column(field.column), &target, field.column)?;
                columns.push(partition::values(field.transform, &source)?);
            }
            Ok(RecordBatch::try_new(Arc::clone(&output), columns)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

/// A column in the type that the table has for plans.
fn plan_typed(column: &ArrayRef, target: &WriteTarget, index: usize) -> Result<ArrayRef> {
    Ok(cast(column, target.table_schema.field(index).data_type())?)
}

impl DisplayAs for PartitionValuesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.target.partition.iter();
        let fields: Vec<_> = fields.map(|field| field.name.as_str()).collect();
        write!(f, "PartitionValuesExec: [{}]", fields.join(", "))
    }
}

/// Writes rows as data files of one table, every input partition by itself.
#[derive(Debug)]
pub(crate) struct LakeWriteExec {
    input: Arc<dyn ExecutionPlan>,
    pub(crate) target: Arc<WriteTarget>,
    write_id: String,
    /// Whether rows say what is done with them; otherwise all join the table.
    with_actions: bool,
    /// Whether all rows go through one writer: few rows would make many small files.
    gather: bool,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// What is written, apart from the rows.
#[derive(Debug, Clone)]
pub(crate) struct WriteTask {
    pub(crate) target: Arc<WriteTarget>,
    /// How the names of all files begin.
    pub(crate) write_id: String,
    /// Whether rows say what is done with them; otherwise all join the table.
    pub(crate) with_actions: bool,
    /// Whether all rows go through one writer.
    pub(crate) gather: bool,
}

impl LakeWriteExec {
    /// Over rows with the columns that this module's head describes.
    pub(crate) fn try_new(input: Arc<dyn ExecutionPlan>, task: WriteTask) -> Result<Self> {
        let extra = if task.with_actions { ROW_COLUMNS } else { 0 };
        let wanted = task.target.table_schema.fields().len() + extra + task.target.partition.len();
        let found = input.schema().fields().len();
        if found != wanted {
            let detail = format!("a writer of {} takes {wanted} columns, not {found}", task.target.table);
            return Err(DataFusionError::Plan(detail));
        }
        let partitions = input.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&OUTPUT_SCHEMA)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Ok(Self {
            input,
            target: task.target,
            write_id: task.write_id,
            with_actions: task.with_actions,
            gather: task.gather,
            properties: Arc::new(properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    pub(crate) fn task(&self) -> WriteTask {
        WriteTask {
            target: Arc::clone(&self.target),
            write_id: self.write_id.clone(),
            with_actions: self.with_actions,
            gather: self.gather,
        }
    }

    /// Where the first partition value stands.
    fn partition_offset(&self) -> usize {
        self.input.schema().fields().len() - self.target.partition.len()
    }

    fn input_column(&self, index: usize) -> Arc<dyn PhysicalExpr> {
        Arc::new(Column::new(self.input.schema().field(index).name(), index))
    }
}

impl ExecutionPlan for LakeWriteExec {
    fn name(&self) -> &'static str {
        "LakeWriteExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    /// Rows of one table partition meet in one writer.
    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        let keys = self.partition_offset()..self.input.schema().fields().len();
        InputDistributionRequirements::new(vec![match (self.gather, keys.is_empty()) {
            (true, _) => Distribution::SinglePartition,
            (false, true) => Distribution::UnspecifiedDistribution,
            (false, false) => Distribution::KeyPartitioned(keys.map(|index| self.input_column(index)).collect()),
        }])
    }

    /// Rows come one table partition after another, so that one file is open at a time, and in the table's order.
    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        let keys = self.partition_offset()..self.input.schema().fields().len();
        let ascending = arrow::compute::SortOptions::default();
        let of_partition = keys.map(|index| (index, ascending));
        let of_table = self.target.sort_order.iter().map(|field| {
            let options = arrow::compute::SortOptions::new(field.descending, field.nulls_first);
            (field.column, options)
        });
        let keys = of_partition.chain(of_table);
        let keys = keys.map(|(index, options)| PhysicalSortRequirement::new(self.input_column(index), Some(options)));
        vec![LexRequirement::new(keys).map(OrderingRequirements::new)]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::try_new(input, self.task())?)),
            None => Ok(self),
        }
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, Arc::clone(&context))?;
        let (store_url, _) = stores::address(&self.target.data_folder)?;
        let store = context.runtime_env().object_store(&store_url)?;
        let reservation = MemoryConsumer::new("LakeWriteExec").register(context.memory_pool());
        let mut task = Task {
            writer: Abandoned(Some(Writer::new(store, Arc::clone(&self.target), &self.write_id)?)),
            target: Arc::clone(&self.target),
            partition_offset: self.partition_offset(),
            with_actions: self.with_actions,
            deleted: BTreeMap::new(),
            reservation,
        };
        let rows_written = MetricBuilder::new(&self.metrics).counter("rows_written", partition);
        let output = async move {
            let mut rows = rows;
            while let Some(batch) = rows.try_next().await? {
                rows_written.add(batch.num_rows());
                task.write(&batch).await?;
            }
            task.finish().await
        };
        let output = stream::once(output);
        let adapter = RecordBatchStreamAdapter::new(Arc::clone(&OUTPUT_SCHEMA), output);
        Ok(Box::pin(adapter))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

impl DisplayAs for LakeWriteExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeWriteExec: table={}", self.target.table)
    }
}

/// The writer of one task. Where the task ends early, its files are deleted.
struct Abandoned(Option<Writer>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let (Some(writer), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(writer.discard());
        }
    }
}

/// Rows of one file that leave the table, and how many of them for another version of themselves.
#[derive(Default)]
struct Leaving {
    positions: RoaringTreemap,
    updated: u64,
}

/// One partition's work.
struct Task {
    writer: Abandoned,
    target: Arc<WriteTarget>,
    partition_offset: usize,
    with_actions: bool,
    deleted: BTreeMap<String, Leaving>,
    reservation: MemoryReservation,
}

impl Task {
    async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let columns = self.target.table_schema.fields().len();
        let joining = match self.with_actions {
            false => None,
            true => Some(self.take_leaving(batch, columns)?),
        };
        let batch = match &joining {
            Some(joining) if joining.true_count() == 0 => return Ok(()),
            Some(joining) => &filter_record_batch(batch, joining)?,
            None => batch,
        };
        let Some(writer) = &mut self.writer.0 else {
            return Ok(());
        };
        let keys = batch.columns()[self.partition_offset..].to_vec();
        let ranges = match keys.is_empty() {
            true => std::iter::once(0..batch.num_rows()).collect(),
            false => partition(&keys)?.ranges(),
        };
        let rows = batch.project(&(0..columns).collect::<Vec<_>>())?;
        for range in ranges {
            if !keys.is_empty() {
                let values = keys.iter().map(|key| ScalarValue::try_from_array(key, range.start));
                let values = values.map(|value| Ok(value?.compacted()));
                writer
                    .begin_partition(values.collect::<Result<_>>()?)
                    .await
                    .map_err(shippable)?;
            }
            let rows = rows.slice(range.start, range.len());
            writer.write(&rows).await.map_err(shippable)?;
        }
        if self.reservation.try_resize(writer.memory_bytes()).is_err() {
            writer.flush().await.map_err(shippable)?;
            self.reservation.try_resize(writer.memory_bytes())?;
        }
        Ok(())
    }

    /// Remembers the rows that leave the table; says which ones join it.
    fn take_leaving(&mut self, batch: &RecordBatch, columns: usize) -> Result<BooleanArray> {
        let actions = cast(batch.column(columns), &DataType::Int8)?;
        let actions = actions.as_primitive::<Int8Type>();
        let files = cast(batch.column(columns + 1), &DataType::Utf8)?;
        let files: &StringArray = files.as_string();
        let positions = cast(batch.column(columns + 2), &DataType::Int64)?;
        let positions = positions.as_primitive::<Int64Type>();
        let mut joining = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let action = actions.is_valid(row).then(|| actions.value(row));
            let (joins, leaves) = match action {
                Some(1) => (true, false),
                Some(2) => (false, true),
                Some(3) => (true, true),
                _ => return Err(defect("a row says not what is done with it")),
            };
            joining.push(joins);
            if !leaves {
                continue;
            }
            if files.is_null(row) || positions.is_null(row) {
                return Err(defect("a row leaves a table without its place"));
            }
            let position = u64::try_from(positions.value(row)).map_err(|_| defect("a row has a negative place"))?;
            let file = files.value(row);
            if !self.deleted.contains_key(file) {
                self.deleted.insert(file.to_owned(), Leaving::default());
            }
            if let Some(leaving) = self.deleted.get_mut(file) {
                if !leaving.positions.insert(position) {
                    return Err(changed_twice(&self.target.table));
                }
                leaving.updated += u64::from(joins);
            }
        }
        Ok(BooleanArray::from(joining))
    }

    async fn finish(mut self) -> Result<RecordBatch> {
        let Some(writer) = &mut self.writer.0 else {
            return Ok(RecordBatch::new_empty(Arc::clone(&OUTPUT_SCHEMA)));
        };
        writer.finish().await.map_err(shippable)?;
        let mut outputs = Vec::new();
        for (file, leaving) in std::mem::take(&mut self.deleted) {
            outputs.push(WriteOutput::Deleted {
                file,
                positions: leaving.positions,
                updated: leaving.updated,
            });
        }
        // From here on the coordinator knows the files.
        let files = self.writer.0.take().map(Writer::into_files).unwrap_or_default();
        outputs.extend(files.into_iter().map(WriteOutput::File));
        let encoded = outputs.iter().map(WriteOutput::encode).collect::<Result<Vec<_>>>()?;
        let encoded: ArrayRef = Arc::new(BinaryArray::from_iter_values(encoded));
        Ok(RecordBatch::try_new(Arc::clone(&OUTPUT_SCHEMA), vec![encoded])?)
    }
}

/// The error for a row of the table that a statement would change twice.
pub(crate) fn changed_twice(table: &str) -> DataFusionError {
    DataFusionError::Execution(format!(
        "a row of {table} is matched by more than one row, and each of them changes it: make the source's rows unique \
         in the columns that are compared"
    ))
}

/// Between executors, errors of other crates travel as text: what the user did wrong is told in a way that stays.
fn shippable(error: Error) -> DataFusionError {
    match error {
        Error::Violation { .. } => DataFusionError::Execution(error.to_string()),
        other => other.into(),
    }
}

fn defect(detail: &str) -> DataFusionError {
    DataFusionError::Internal(detail.to_owned())
}
