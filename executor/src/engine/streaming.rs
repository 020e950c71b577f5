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
mod last_stage;
mod leaf;
mod route;
mod service;
mod tasks;

use std::sync::Arc;

use async_trait::async_trait;
use catalog::{LakeCodec, LoansInUse};
use datafusion::arrow::ipc::CompressionType;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::stream::{EmptyRecordBatchStream, RecordBatchStreamAdapter};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion_distributed::{
    DistributedExec, DistributedExt, DistributedLeafExec, NetworkBoundaryExt, SessionStateBuilderExt, WorkerResolver,
};
use futures::future::ready;
use futures::{FutureExt, stream};
use proto::ErrorKind;
use url::Url;
use uuid::Uuid;

use super::local::run_here;
use super::progress::Source;
use super::read_once::read_once;
use super::retry::{Attempt, Loss, Started};
use super::{AdaptiveTasks, Engine, ExecutorSet, scan};
use crate::cluster::Cluster;
use crate::cluster::members::Peer;
use crate::config::{Compression, Config};
use crate::error::{Error, Result, query_kind};
use crate::process::session::TaskSettings;
use crate::scale::autoscaler::Autoscaler;

use channel::Workers;
use failure::failures;
use last_stage::counted;

pub(super) use leaf::file_scan;
pub(super) use service::PLAN_BYTES_MAX;
pub(crate) use service::task_routes;
pub(super) use tasks::Elsewhere;
pub(crate) use tasks::Tasks;

/// What a task may have in flight from all tasks of the stage below, as long as that leaves each connection a few batches.
const EXCHANGE_BYTES_MAX: usize = 128 << 20;
const CONNECTION_BYTES_MIN: usize = 2 << 20;
const CONNECTION_BYTES_MAX: usize = 32 << 20;
/// What a row is taken to have where only the number of rows is known.
const UNKNOWN_ROW_BYTES: usize = 128;

/// Runs plans on the executors of a cluster.
pub(super) struct StreamingEngine {
    cluster: Arc<Cluster>,
    scan_bytes_per_partition: usize,
    broadcast_bytes_max: usize,
    exchange_compression: Option<CompressionType>,
    /// What a plan may read here while executors start.
    local_scan_bytes_max: u64,
    /// Every task gets as many partitions as the smallest executor has vCPUs, and not a number that was configured.
    partitions_follow_cores: bool,
    codec: LakeCodec,
}

impl StreamingEngine {
    pub(super) fn new(cluster: Arc<Cluster>, config: &Config) -> Self {
        let scan_bytes_per_partition = usize::try_from(config.scan_bytes_per_partition).unwrap_or(usize::MAX);
        Self {
            cluster,
            scan_bytes_per_partition,
            broadcast_bytes_max: usize::try_from(config.broadcast_bytes_max).unwrap_or(usize::MAX),
            exchange_compression: match config.exchange_compression {
                Compression::None => None,
                Compression::Lz4 => Some(CompressionType::LZ4_FRAME),
                Compression::Zstd => Some(CompressionType::ZSTD),
            },
            local_scan_bytes_max: config.local_scan_bytes_max,
            partitions_follow_cores: config.target_partitions.is_none(),
            codec: LakeCodec::default(),
        }
    }

    /// The plan for these executors, and the session it is to run in.
    async fn plan(
        &self,
        attempt: &Attempt,
        addresses: Vec<Url>,
    ) -> Result<(Arc<dyn ExecutionPlan>, SessionState), DataFusionError> {
        // A stage of one task stays here: a single executor gets two, or it would never work.
        let tasks_max = addresses.len().max(2);
        self.plan_within(attempt, addresses, tasks_max).await
    }

    async fn plan_within(
        &self,
        attempt: &Attempt,
        addresses: Vec<Url>,
        tasks_max: usize,
    ) -> Result<(Arc<dyn ExecutionPlan>, SessionState), DataFusionError> {
        let mut state = attempt.state.clone();
        state.set_distributed_max_tasks_per_stage(tasks_max)?;
        let buffer = (EXCHANGE_BYTES_MAX / tasks_max).clamp(CONNECTION_BYTES_MIN, CONNECTION_BYTES_MAX);
        state.set_distributed_worker_connection_buffer_budget_bytes(buffer)?;
        if let Some(cores) = self.cluster.members().cores().filter(|_| self.partitions_follow_cores) {
            state.config_mut().options_mut().execution.target_partitions = cores.max(2);
        }
        state.set_distributed_worker_resolver(Chosen(addresses));
        let plan = state.create_physical_plan(&attempt.plan).await?;
        Ok((plan, state))
    }

    /// On executors that are started as they are needed: a plan that wants none runs here, and so does one that reads
    /// little while there are none. Others say what they want, and wait for the first.
    async fn start_scaled(&self, scaler: &Autoscaler, attempt: &Attempt) -> Result<Started> {
        let named = attempt.state.config().get_extension::<ExecutorSet>();
        let named = named.as_ref().map(|set| set.0.as_str());
        let set = scaler.set(named.or(attempt.limits.executor_set.as_deref()))?;
        let (plan, state) = self.plan(attempt, anywhere(set.max)).await?;
        scan::check(&plan, attempt.limits.scan_bytes_max)?;
        if !is_distributed(&plan)? {
            return run_here(plan, &state, attempt);
        }
        let tasks = tasks_wanted(&plan)?;
        let mut peers = self.cluster.members().usable(Some(&set.name), &attempt.excluded);
        if peers.is_empty() && scan::bytes(&plan)? <= self.local_scan_bytes_max {
            let (plan, state) = self.plan_within(attempt, anywhere(1), 1).await?;
            if !is_distributed(&plan)? {
                return run_here(plan, &state, attempt);
            }
        }
        let wanted = scaler.want(set, tasks);
        if peers.is_empty() {
            let count = tasks.div_ceil(set.tasks_per_executor).min(set.max);
            peers = self.cluster.gather((scaler, set), &attempt.excluded, count).await?;
        }
        wanted.begun(addresses(&peers));
        let (plan, state) = self.plan(attempt, addresses(&peers)).await?;
        let started = match is_distributed(&plan)? {
            true => self.run_there(plan, &state, peers, attempt).await?,
            false => run_here(plan, &state, attempt)?,
        };
        Ok(Started {
            _wanted: Some(wanted),
            ..started
        })
    }

    /// Gives the executors what the catalogs lent for the plan's files, as long as it runs.
    async fn lend(&self, plan: &Arc<dyn ExecutionPlan>, peers: &[Peer]) -> Result<Option<LoansInUse>> {
        let Some(lending) = self.cluster.lending() else {
            return Ok(None);
        };
        let mut nodes = Vec::new();
        plan.apply(|node| {
            nodes.push(Arc::clone(whole_leaf(node)));
            Ok(TreeNodeRecursion::Continue)
        })?;
        let used = lending.stores().loans_of(&nodes);
        if used.is_empty() {
            return Ok(None);
        }
        lending.lend(peers).await?;
        Ok(Some(used))
    }

    async fn run_there(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        state: &SessionState,
        peers: Vec<Peer>,
        attempt: &Attempt,
    ) -> Result<Started> {
        let (plan, state) = adaptive(plan, state, attempt).await?;
        let plan = read_once(plan, |node| node.is_network_boundary())?;
        let (plan, batches) = counted(plan)?;
        let query = Uuid::now_v7().to_string();
        let progress = Elsewhere::watch(&self.cluster, peers.clone(), query.clone());
        let mut started = Started {
            stream: Box::pin(EmptyRecordBatchStream::new(plan.schema())),
            progress: Source::Elsewhere(Arc::new(progress)),
            plan,
            peers,
            _wanted: None,
            _loans: None,
        };
        match self.lend(&started.plan, &started.peers).await {
            Ok(loans) => {
                started = Started {
                    _loans: loans,
                    ..started
                }
            }
            // It is an executor that fails the query here: the next attempt does without it.
            Err(error) => {
                let failed = stream::once(ready(Err(error.into())));
                started.stream = Box::pin(RecordBatchStreamAdapter::new(started.plan.schema(), failed));
                return Ok(started);
            }
        }
        let (reporter, failures) = failures();
        let mut settings = TaskSettings::of(state.config_options())?;
        settings.query.clone_from(&query);
        settings.memory_bytes_max = attempt.limits.memory_bytes_max.unwrap_or(0);
        let config = state
            .config()
            .clone()
            .with_distributed_option_extension(settings)
            .with_extension(Arc::new(reporter));
        let context = TaskContext::from(&state)
            .with_session_config(config)
            .with_runtime(Arc::clone(&attempt.runtime));
        let stream = execute_stream(Arc::clone(&started.plan), Arc::new(context))?;
        let (members, watched) = (Arc::clone(self.cluster.members()), started.peers.clone());
        let loss = async move { members.loss(&watched).await };
        started.stream = Box::pin(RecordBatchStreamAdapter::new(
            stream.schema(),
            failures.watch(stream, loss.boxed(), batches),
        ));
        Ok(started)
    }
}

#[async_trait]
impl Engine for StreamingEngine {
    fn session_state(&self, mut base: SessionStateBuilder) -> Result<SessionState> {
        let options = &mut base.config().get_or_insert_default().options_mut().optimizer;
        options.hash_join_single_partition_threshold = self.broadcast_bytes_max;
        options.hash_join_single_partition_threshold_rows = self.broadcast_bytes_max / UNKNOWN_ROW_BYTES;
        Ok(base
            .with_distributed_planner()
            .with_distributed_worker_resolver(Chosen(self.cluster.addresses()))
            .with_distributed_channel_resolver(Workers::new(Arc::clone(self.cluster.channels())))
            .with_distributed_user_codec(self.codec.clone())
            .with_distributed_desired_task_count_handler(leaf::tasks_max)
            .with_distributed_scale_up_leaf_node_handler(leaf::split)
            .with_distributed_route_tasks_handler(route::by_files)
            .with_distributed_max_tasks_per_stage(self.cluster.addresses().len().max(2))?
            .with_distributed_file_scan_config_bytes_per_partition(self.scan_bytes_per_partition)?
            .with_distributed_compression(self.exchange_compression)?
            .build())
    }

    async fn start(&self, attempt: &Attempt) -> Result<Started> {
        if attempt.limits.here {
            let mut state = attempt.state.clone();
            state.set_distributed_max_tasks_per_stage(1)?;
            let plan = state.create_physical_plan(&attempt.plan).await?;
            if is_distributed(&plan)? {
                return Err(DataFusionError::Internal("a plan of one task per stage was cut".to_owned()).into());
            }
            return run_here(plan, &state, attempt);
        }
        if let Some(scaler) = self.cluster.scaler() {
            return self.start_scaled(scaler, attempt).await;
        }
        let members = self.cluster.members();
        let (known, mut peers) = (members.all_known(), members.usable(None, &attempt.excluded));
        // Plans that stay here need nobody's answer.
        let candidates = match peers.is_empty() {
            true => self.cluster.addresses(),
            false => addresses(&peers),
        };
        let (mut plan, mut state) = self.plan(attempt, candidates).await?;
        scan::check(&plan, attempt.limits.scan_bytes_max)?;
        if !is_distributed(&plan)? {
            return run_here(plan, &state, attempt);
        }
        if !known || peers.is_empty() {
            peers = self.cluster.ready(&attempt.excluded).await?;
            (plan, state) = self.plan(attempt, addresses(&peers)).await?;
            if !is_distributed(&plan)? {
                return run_here(plan, &state, attempt);
            }
        }
        self.run_there(plan, &state, peers, attempt).await
    }

    async fn find_loss(&self, peers: &[Peer], error: &DataFusionError) -> Option<Loss> {
        let suspected = |address: &str, died: bool| {
            let peer = peers
                .iter()
                .find(|peer| peer.address.as_str().trim_end_matches('/') == address);
            if let Some(peer) = peer {
                self.cluster.members().suspect(&peer.address);
            }
            let peer = peer.cloned();
            Some(Loss { peer, died })
        };
        match Error::recognise(error) {
            Some(Error::Unreachable { address, .. }) => {
                let loss = suspected(&address, true);
                // Where one is lost others may be: each would cost an attempt.
                self.cluster.find_lost(peers).await;
                loss
            }
            Some(Error::Refused { address, .. } | Error::Draining { address }) => suspected(&address, false),
            Some(Error::Expired) => Some(Loss {
                peer: None,
                died: false,
            }),
            Some(_) => None,
            None => match query_kind(error) {
                // It may be what is left of a connection that broke two processes away.
                ErrorKind::Internal | ErrorKind::Unavailable => {
                    let peer = self.cluster.find_lost(peers).await.into_iter().next()?;
                    Some(Loss {
                        peer: Some(peer),
                        died: true,
                    })
                }
                _ => None,
            },
        }
    }
}

/// The plan without its stages, where the session wants each of them to be sized when the one below runs. Whether a query
/// needs executors at all, and how many, is always foreseen: `plan` has the stages of that.
async fn adaptive(
    plan: Arc<dyn ExecutionPlan>,
    state: &SessionState,
    attempt: &Attempt,
) -> Result<(Arc<dyn ExecutionPlan>, SessionState), DataFusionError> {
    let mut state = state.clone();
    if state.config().get_extension::<AdaptiveTasks>().is_none() {
        return Ok((plan, state));
    }
    state.set_distributed_dynamic_task_count(true)?;
    Ok((state.create_physical_plan(&attempt.plan).await?, state))
}

/// What stands for the leaf of a plan that is cut into tasks.
pub(super) fn whole_leaf(node: &Arc<dyn ExecutionPlan>) -> &Arc<dyn ExecutionPlan> {
    node.downcast_ref::<DistributedLeafExec>()
        .map_or(node, DistributedLeafExec::original)
}

fn is_distributed(plan: &Arc<dyn ExecutionPlan>) -> Result<bool, DataFusionError> {
    plan.exists(|node| Ok(node.is::<DistributedExec>()))
}

/// The most tasks that one stage of a plan has which reads files; at least 1.
fn tasks_wanted(plan: &Arc<dyn ExecutionPlan>) -> Result<usize, DataFusionError> {
    let mut tasks = 1;
    plan.apply(|node| {
        if let Some(leaf) = node.downcast_ref::<DistributedLeafExec>() {
            tasks = tasks.max(leaf.variants().len());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(tasks)
}

/// So many executors that are not there, to see what a plan would make of them.
fn anywhere(count: usize) -> Vec<Url> {
    let address = |number| Url::parse(&format!("http://executor-{number}.invalid")).ok();
    (0..count).filter_map(address).collect()
}

fn addresses(peers: &[Peer]) -> Vec<Url> {
    peers.iter().map(|peer| peer.address.clone()).collect()
}

/// The executors of one attempt, as the library asks for them.
struct Chosen(Vec<Url>);

impl WorkerResolver for Chosen {
    fn get_urls(&self) -> Result<Vec<Url>, DataFusionError> {
        Ok(self.0.clone())
    }
}
