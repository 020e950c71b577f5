//! Plain DataFusion in this process: the engine of the embedded mode, and what every other engine must equal.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};

use super::progress::Source;
use super::read_once::read_once;
use super::retry::{Attempt, Loss, Started};
use super::{Engine, scan};
use crate::cluster::members::Peer;
use crate::error::Result;

/// Runs every plan in this process.
pub(super) struct LocalEngine;

#[async_trait]
impl Engine for LocalEngine {
    fn session_state(&self, base: SessionStateBuilder) -> Result<SessionState> {
        Ok(base.build())
    }

    async fn start(&self, attempt: &Attempt) -> Result<Started> {
        let plan = attempt.state.create_physical_plan(&attempt.plan).await?;
        scan::check(&plan, attempt.limits.scan_bytes_max)?;
        run_here(plan, &attempt.state, attempt)
    }

    async fn find_loss(&self, _: &[Peer], _: &DataFusionError) -> Option<Loss> {
        None
    }
}

/// Runs a plan in this process.
pub(super) fn run_here(plan: Arc<dyn ExecutionPlan>, state: &SessionState, attempt: &Attempt) -> Result<Started> {
    let plan = read_once(plan, |_| false)?;
    let context = TaskContext::from(state).with_runtime(Arc::clone(&attempt.runtime));
    Ok(Started {
        stream: execute_stream(Arc::clone(&plan), Arc::new(context))?,
        progress: Source::Here(Arc::clone(&plan)),
        plan,
        peers: Vec::new(),
        _wanted: None,
        _loans: None,
    })
}
