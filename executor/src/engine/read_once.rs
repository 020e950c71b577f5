//! A join without a key whose left side does not fit into memory fails for memory. DataFusion 55.2 would read that side a
//! second time, in parts: rows of other tasks come only once, and a right join has answered wrongly so.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::metrics::MetricsSet;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};

use crate::error::Result;

/// `plan`, whose joins without a key read their left side once. Nothing changes at nodes that are `elsewhere` and below.
pub(super) fn read_once(
    plan: Arc<dyn ExecutionPlan>,
    elsewhere: impl Fn(&Arc<dyn ExecutionPlan>) -> bool,
) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
    plan.transform_down(|node| {
        if elsewhere(&node) {
            return Ok(Transformed::new(node, false, TreeNodeRecursion::Jump));
        }
        let Some(join) = node.downcast_ref::<NestedLoopJoinExec>() else {
            return Ok(Transformed::no(node));
        };
        let left = Arc::new(ReadOnceExec::new(Arc::clone(join.left())));
        let right = Arc::clone(join.right());
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.replace_children(vec![left, right], options)?))
    })
    .data()
}

/// Its input, of one partition, for one reader. It looks like its input: the library knows the nodes of a task by their
/// place.
#[derive(Debug)]
struct ReadOnceExec {
    input: Arc<dyn ExecutionPlan>,
    is_read: AtomicBool,
}

impl ReadOnceExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self {
            input,
            is_read: AtomicBool::new(false),
        }
    }
}

impl ExecutionPlan for ReadOnceExec {
    fn name(&self) -> &str {
        self.input.name()
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.input.children()
    }

    fn downcast_delegate(&self) -> Option<&dyn ExecutionPlan> {
        Some(self.input.as_ref())
    }

    fn metrics(&self) -> Option<MetricsSet> {
        self.input.metrics()
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        let input = Arc::clone(&self.input).replace_children(children, options)?;
        Ok(Arc::new(Self::new(input)))
    }

    fn apply_expressions(
        &self,
        apply: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        self.input.apply_expressions(apply)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        if self.is_read.swap(true, Ordering::Relaxed) {
            return Err(DataFusionError::ResourcesExhausted(
                "the left side of a join without a key needs more memory than its query may hold on one machine: \
                 give the join a key, or the query more memory"
                    .to_owned(),
            ));
        }
        self.input.execute(partition, context)
    }
}

impl DisplayAs for ReadOnceExec {
    fn fmt_as(&self, form: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.input.fmt_as(form, f)
    }
}
