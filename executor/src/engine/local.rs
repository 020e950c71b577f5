//! Plain DataFusion in this process: the engine of the embedded mode, and what every other engine must equal.

use async_trait::async_trait;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;

use super::{Engine, Execution, Progress};
use crate::error::Result;

/// Runs every plan in this process.
pub(super) struct LocalEngine;

#[async_trait]
impl Engine for LocalEngine {
    fn session_state(&self, base: SessionStateBuilder) -> Result<SessionState> {
        Ok(base.build())
    }

    async fn execute(&self, state: &SessionState, plan: &LogicalPlan) -> Result<Execution> {
        let plan = state.create_physical_plan(plan).await?;
        Ok(Execution {
            progress: Progress::of(&plan),
            stream: execute_stream(plan, state.task_ctx())?,
        })
    }
}
