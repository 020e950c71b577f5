//! Pipelined stages on executors. This file and its folder alone name `datafusion_distributed`.
//!
//! ```text
//!   logical plan ─► physical plan ─► stages ─► tasks ──gRPC──► executors
//!                                                                  │ Arrow batches, at the reader's pace
//!                    client  ◄────── last stage, here ◄────────────┘
//! ```
//! A plan that needs no second task runs here, as in [`LocalEngine`](super::local::LocalEngine).

mod channel;
mod failure;
mod leaf;
mod service;
mod tasks;

use std::sync::Arc;

use async_trait::async_trait;
use catalog::LakeCodec;
use datafusion::common::tree_node::TreeNode;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_distributed::{DistributedExec, DistributedExt, SessionStateBuilderExt, WorkerResolver};
use url::Url;
use uuid::Uuid;

use super::{Engine, Execution, Progress};
use crate::cluster::Cluster;
use crate::error::Result;
use crate::process::session::TaskSettings;

use channel::Workers;
use failure::failures;

pub(crate) use service::task_routes;
pub(super) use tasks::Elsewhere;

/// Runs plans on the executors of a cluster.
pub(super) struct StreamingEngine {
    cluster: Arc<Cluster>,
    scan_bytes_per_partition: usize,
    codec: LakeCodec,
}

impl StreamingEngine {
    pub(super) fn new(cluster: Arc<Cluster>, scan_bytes_per_partition: u64) -> Self {
        let scan_bytes_per_partition = usize::try_from(scan_bytes_per_partition).unwrap_or(usize::MAX);
        Self {
            cluster,
            scan_bytes_per_partition,
            codec: LakeCodec::default(),
        }
    }
}

#[async_trait]
impl Engine for StreamingEngine {
    fn session_state(&self, base: SessionStateBuilder) -> Result<SessionState> {
        // A stage of one task stays here: a single executor gets two, or it would never work.
        let tasks_max = self.cluster.addresses().len().max(2);
        Ok(base
            .with_distributed_planner()
            .with_distributed_worker_resolver(Members(Arc::clone(&self.cluster)))
            .with_distributed_channel_resolver(Workers::new(Arc::clone(self.cluster.channels())))
            .with_distributed_user_codec(self.codec.clone())
            .with_distributed_desired_task_count_handler(leaf::tasks_max)
            .with_distributed_scale_up_leaf_node_handler(leaf::split)
            .with_distributed_max_tasks_per_stage(tasks_max)?
            .with_distributed_file_scan_config_bytes_per_partition(self.scan_bytes_per_partition)?
            .build())
    }

    async fn execute(&self, state: &SessionState, plan: &LogicalPlan) -> Result<Execution> {
        let plan = state.create_physical_plan(plan).await?;
        if !plan.exists(|node| Ok(node.is::<DistributedExec>()))? {
            return Ok(Execution {
                progress: Progress::of(&plan),
                stream: execute_stream(plan, state.task_ctx())?,
            });
        }
        let (reporter, failures) = failures();
        let query = Uuid::now_v7().to_string();
        let mut settings = TaskSettings::of(state.config_options())?;
        settings.query.clone_from(&query);
        let config = state
            .config()
            .clone()
            .with_distributed_option_extension(settings)
            .with_extension(Arc::new(reporter));
        let context = Arc::new(TaskContext::from(state).with_session_config(config));
        let stream = execute_stream(plan, context)?;
        let schema = stream.schema();
        Ok(Execution {
            stream: Box::pin(RecordBatchStreamAdapter::new(schema, failures.watch(stream))),
            progress: Progress::of_tasks(Elsewhere::watch(&self.cluster, query)),
        })
    }
}

/// The cluster as the library asks for it.
struct Members(Arc<Cluster>);

impl WorkerResolver for Members {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.addresses().to_vec())
    }
}
