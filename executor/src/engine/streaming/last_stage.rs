//! Whether the last stage of a distributed plan has given all its rows. The library's stream ends later: when every
//! executor has said that its tasks are over. An executor that is lost in between takes nothing from the answer.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use datafusion_distributed::DistributedExec;
use futures::stream::{StreamExt, unfold};
use tokio::sync::watch;

use crate::error::Result;

/// How many batches the last stage has given altogether; nothing before its end, or where nobody counts.
pub(super) type Batches = watch::Receiver<Option<usize>>;

/// `plan`, and how many batches it has given in the end. Plans that are not distributed as a whole are not counted.
pub(super) fn counted(plan: Arc<dyn ExecutionPlan>) -> Result<(Arc<dyn ExecutionPlan>, Batches), DataFusionError> {
    let (total, batches) = watch::channel(None);
    let last = match plan.children().as_slice() {
        [last] if plan.is::<DistributedExec>() => Arc::clone(last),
        _ => return Ok((plan, batches)),
    };
    let last = Arc::new(LastStageExec { input: last, total });
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Ok((plan.replace_children(vec![last], options)?, batches))
}

/// Passes the rows of its only partition on, and counts them.
#[derive(Debug)]
struct LastStageExec {
    input: Arc<dyn ExecutionPlan>,
    total: watch::Sender<Option<usize>>,
}

impl ExecutionPlan for LastStageExec {
    fn name(&self) -> &'static str {
        "LastStageExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        match children.pop() {
            Some(input) => Ok(Arc::new(Self {
                input,
                total: self.total.clone(),
            })),
            None => Ok(self),
        }
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion, DataFusionError>,
    ) -> Result<TreeNodeRecursion, DataFusionError> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream, DataFusionError> {
        let rows = self.input.execute(partition, context)?;
        let schema = rows.schema();
        let counted = unfold((rows, 0, self.total.clone()), |(mut rows, batches, total)| async move {
            match rows.next().await {
                Some(batch) => Some((batch, (rows, batches + 1, total))),
                None => {
                    total.send_replace(Some(batches));
                    None
                }
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}

impl DisplayAs for LastStageExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
