//! The gRPC service of an executor: how a task's session is built, and what a stranger may send.

use std::sync::Arc;

use catalog::LakeCodec;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion_distributed::{
    DistributedExt, Worker, WorkerPlanRewriteEvent, WorkerPlanRewriteEventResponse, WorkerQueryContext,
};
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use super::channel::Workers;
use super::tasks::{Tasks, TasksService};
use crate::cluster::channel::{Channels, VERSION};
use crate::engine::read_once::read_once;
use crate::error::Result;
use crate::functions;
use crate::process::drain::{Drain, Drained};
use crate::process::memory::Memory;
use crate::process::session::TaskSettings;

/// The biggest message a coordinator may send: one task's plan, with all its files.
pub(in crate::engine) const PLAN_BYTES_MAX: usize = 256 << 20;

/// Decides which requests reach the service.
pub(crate) type Door = fn(Request<()>) -> std::result::Result<Request<()>, Status>;

/// The services of an executor behind `door`: one runs tasks in `memory`, reaches other executors over `channels` and
/// stops when `drain` says so, and one tells how far `tasks` are, which is where they enter.
pub(crate) fn task_routes(
    memory: Arc<Memory>,
    channels: Arc<Channels>,
    tasks: Arc<Tasks>,
    door: Door,
    drain: &Drain,
) -> Routes {
    let workers = Workers::new(channels);
    // Tasks of all queries share what the codec's scans load.
    let codec = LakeCodec::default();
    let progress = TasksService::new(Arc::clone(&tasks));
    let runtime = Arc::clone(memory.runtime());
    let worker = Worker::from_session_builder(move |query: WorkerQueryContext| {
        let session = task_session(query, workers.clone(), codec.clone(), Arc::clone(&tasks), &memory);
        async move { session }
    })
    .with_runtime_env(runtime)
    .with_version(VERSION);
    let service = worker.into_worker_server().max_decoding_message_size(PLAN_BYTES_MAX);
    let service = Drained::new(service, drain.clone());
    Routes::new(InterceptedService::new(service, door)).add_service(InterceptedService::new(progress, door))
}

/// The session one task runs in. The library decodes the plan afterwards, in this session.
fn task_session(
    query: WorkerQueryContext,
    workers: Workers,
    codec: LakeCodec,
    tasks: Arc<Tasks>,
    memory: &Memory,
) -> Result<SessionState, DataFusionError> {
    let mut builder = query
        .builder
        .with_distributed_option_extension_from_headers::<TaskSettings>(&query.headers)?;
    let options = builder.config().get_or_insert_default().options_mut();
    let settings = options.extensions.get::<TaskSettings>().cloned().unwrap_or_default();
    settings.apply(options)?;
    let own = (settings.memory_bytes_max > 0).then_some(settings.memory_bytes_max);
    options.execution.sort_spill_reservation_bytes = memory.merge_bytes(own);
    let runtime = memory.of_task(&settings.query, own);
    let enter = move |event: WorkerPlanRewriteEvent<'_>| {
        let plan = read_once(event.plan, |_| false)?;
        tasks.enter(&settings.query, &plan);
        Ok(WorkerPlanRewriteEventResponse::new(plan))
    };
    Ok(functions::register(builder)
        .with_runtime_env(runtime)
        .with_distributed_worker_plan_rewrite_handler(enter)
        .with_distributed_channel_resolver(workers)
        .with_distributed_user_codec(codec)
        .build())
}
