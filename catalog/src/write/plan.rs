//! A write in a logical plan, what becomes of it in a physical one, and what its output says.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError, Result};
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNode, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_planner::{DefaultPhysicalPlanner, ExtensionPlanner, PhysicalPlanner};
use roaring::RoaringTreemap;

use super::WrittenFile;
use super::change::DeletedRows;
use super::exec::{LakeWriteExec, OUTPUT_SCHEMA, PartitionValuesExec, WriteTask, changed_twice};
use super::message::WriteOutput;
use super::target::WriteTarget;

pub use super::exec::RowAction;

/// Rows that are known to be fewer than this go through one writer: every writer makes a file of its own.
const GATHERED_ROWS_MAX: usize = 100_000;

/// Rows on their way into data files.
#[derive(Clone)]
pub struct LakeWrite {
    input: Arc<LogicalPlan>,
    task: WriteTask,
    schema: DFSchemaRef,
}

impl LakeWrite {
    /// Writes the rows of `input`, whose columns are those of the table; where `with_actions`, three more stand behind
    /// them: a [`RowAction`], and the file (`_file`) and the position (`_pos`) of the row that leaves the table.
    ///
    /// # Errors
    /// Fails where the output's columns cannot be named, which does not happen.
    pub fn plan(input: LogicalPlan, target: WriteTarget, write_id: &str, with_actions: bool) -> Result<LogicalPlan> {
        let node = Self {
            input: Arc::new(input),
            task: WriteTask {
                target: Arc::new(target),
                write_id: write_id.to_owned(),
                with_actions,
                gather: false,
            },
            schema: Arc::new(DFSchema::try_from(Arc::clone(&OUTPUT_SCHEMA))?),
        };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl LakeWrite {
    /// As [`LakeWrite::plan`], all rows through one writer, so that they make as few files as their size allows.
    ///
    /// # Errors
    /// As [`LakeWrite::plan`].
    pub fn gathered(input: LogicalPlan, target: WriteTarget, write_id: &str) -> Result<LogicalPlan> {
        let node = Self {
            input: Arc::new(input),
            task: WriteTask {
                target: Arc::new(target),
                write_id: write_id.to_owned(),
                with_actions: false,
                gather: true,
            },
            schema: Arc::new(DFSchema::try_from(Arc::clone(&OUTPUT_SCHEMA))?),
        };
        Ok(LogicalPlan::Extension(Extension { node: Arc::new(node) }))
    }
}

impl fmt::Debug for LakeWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        UserDefinedLogicalNodeCore::fmt_for_explain(self, f)
    }
}

impl PartialEq for LakeWrite {
    fn eq(&self, other: &Self) -> bool {
        self.task.write_id == other.task.write_id && self.input == other.input
    }
}

impl Eq for LakeWrite {}

impl PartialOrd for LakeWrite {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.task.write_id.partial_cmp(&other.task.write_id)
    }
}

impl Hash for LakeWrite {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.task.write_id.hash(state);
        self.input.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for LakeWrite {
    fn name(&self) -> &'static str {
        "LakeWrite"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LakeWrite: {}", self.task.target.table)
    }

    fn with_exprs_and_inputs(&self, _: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> Result<Self> {
        let input = inputs.pop().map_or_else(|| Arc::clone(&self.input), Arc::new);
        Ok(Self { input, ..self.clone() })
    }
}

/// Makes physical plans, of writes too.
#[derive(Debug, Default)]
pub struct LakePlanner;

#[async_trait]
impl QueryPlanner for LakePlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planner = DefaultPhysicalPlanner::with_extension_planners(vec![Arc::new(WritePlanner)]);
        planner.create_physical_plan(logical_plan, session).await
    }
}

struct WritePlanner;

#[async_trait]
impl ExtensionPlanner for WritePlanner {
    async fn plan_extension(
        &self,
        _: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        _: &dyn Session,
        _: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let (Some(node), [input]) = (node.as_any().downcast_ref::<LakeWrite>(), physical_inputs) else {
            return Ok(None);
        };
        let mut task = node.task.clone();
        let mut input = Arc::clone(input);
        task.gather |= is_small(&input);
        if !task.target.partition.is_empty() {
            input = Arc::new(PartitionValuesExec::new(input, Arc::clone(&task.target)));
        }
        Ok(Some(Arc::new(LakeWriteExec::try_new(input, task)?)))
    }
}

fn is_small(input: &Arc<dyn ExecutionPlan>) -> bool {
    let statistics = StatisticsContext::new().compute(input.as_ref(), &StatisticsArgs::new());
    match statistics.map(|statistics| statistics.num_rows) {
        Ok(Precision::Exact(rows) | Precision::Inexact(rows)) => rows < GATHERED_ROWS_MAX,
        Ok(Precision::Absent) | Err(_) => false,
    }
}

/// What all writers of one statement did.
#[derive(Debug, Default)]
pub struct Written {
    /// The new data files.
    pub files: Vec<WrittenFile>,
    /// The rows that leave the table.
    pub deleted: Vec<DeletedRows>,
    /// How many of them have a new version in the files.
    pub updated: u64,
}

/// Puts the output of all writers together.
#[derive(Debug, Default)]
pub struct Collected {
    files: Vec<WrittenFile>,
    deleted: BTreeMap<String, RoaringTreemap>,
    updated: u64,
    seen: HashSet<String>,
}

impl Collected {
    /// Takes one batch of a writer's output into account. `table` is for messages.
    ///
    /// # Errors
    /// Fails where two writers delete the same row, which means that the statement changes it twice, and for bytes that
    /// no writer makes.
    pub fn add(&mut self, table: &str, batch: &RecordBatch) -> Result<()> {
        let Some(rows) = batch.columns().first().and_then(|column| column.as_binary_opt::<i32>()) else {
            return Err(DataFusionError::Internal(
                "a writer's output has another form".to_owned(),
            ));
        };
        for row in rows.iter().flatten() {
            match WriteOutput::decode(row)? {
                WriteOutput::File(file) => {
                    if !self.seen.insert(file.location.clone()) {
                        return Err(DataFusionError::Internal("a file was written twice".to_owned()));
                    }
                    self.files.push(file);
                }
                WriteOutput::Deleted {
                    file,
                    positions,
                    updated,
                } => {
                    let known = self.deleted.entry(file).or_default();
                    if !known.is_disjoint(&positions) {
                        return Err(changed_twice(table));
                    }
                    *known |= positions;
                    self.updated += updated;
                }
            }
        }
        Ok(())
    }

    /// Everything together.
    pub fn finish(self) -> Written {
        let deleted = self.deleted.into_iter();
        Written {
            files: self.files,
            deleted: deleted
                .map(|(file, positions)| DeletedRows { file, positions })
                .collect(),
            updated: self.updated,
        }
    }
}

impl Written {
    /// Rows in the new files.
    pub fn rows_written(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Rows that leave the table, those with a new version too.
    pub fn rows_deleted(&self) -> u64 {
        self.deleted.iter().map(|deleted| deleted.positions.len()).sum()
    }
}
