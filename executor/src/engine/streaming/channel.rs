//! Talking to executors: connections as the library asks for them, and errors that say which executor they are about.

use std::error::Error as StdError;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::stream::{BoxStream, StreamExt};
use http::HeaderMap;
use tonic::{Code, Status};
use url::Url;

use super::failure::Reporter;
use super::service::PLAN_BYTES_MAX;
use crate::cluster::channel::{Channels, innermost, refused, unreachable};
use crate::error::{Error, Result};

/// The connections of this process, on coordinators and executors alike.
#[derive(Clone)]
pub(super) struct Workers(Arc<Channels>);

impl Workers {
    pub(super) fn new(channels: Arc<Channels>) -> Self {
        Self(channels)
    }
}

#[async_trait]
impl ChannelResolver for Workers {
    async fn get_worker_client_for_url(&self, address: &Url) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        Ok(Box::new(Worker {
            address: address.clone(),
            channels: Arc::clone(&self.0),
        }))
    }
}

/// One executor. Connects with the first request, so that the request's query hears of a failure.
struct Worker {
    address: Url,
    channels: Arc<Channels>,
}

impl Worker {
    async fn client(&self) -> Result<Box<dyn WorkerChannel>, DataFusionError> {
        let channel = self.channels.channel(&self.address).await?;
        Ok(create_worker_client(BoxCloneSyncChannel::new(channel)))
    }
}

#[async_trait]
impl WorkerChannel for Worker {
    async fn coordinator_channel(
        &mut self,
        headers: HeaderMap,
        plan: SetPlanRequest,
        messages: BoxStream<'static, CoordinatorToWorkerMsg>,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<BoxStream<'static, Result<WorkerToCoordinatorMsg, DataFusionError>>, DataFusionError> {
        let reporter = context.session_config().get_extension::<Reporter>();
        let address = self.address.clone();
        let reported = move |error: DataFusionError| {
            let error = Arc::new(about(&address, error));
            if let Some(reporter) = &reporter {
                reporter.report(Arc::clone(&error));
            }
            DataFusionError::Shared(error)
        };
        let mut client = self.client().await.map_err(&reported)?;
        let answers = client
            .coordinator_channel(headers, plan, messages, metrics, context)
            .await
            .map_err(&reported)?;
        Ok(answers.map(move |answer| answer.map_err(&reported)).boxed())
    }

    async fn execute_task(
        &mut self,
        headers: HeaderMap,
        task: ExecuteTaskRequest,
        metrics: ExecutionPlanMetricsSet,
        context: &Arc<TaskContext>,
    ) -> Result<Vec<BoxStream<'static, Result<RecordBatch, DataFusionError>>>, DataFusionError> {
        let about_us = |error| about(&self.address, error);
        let partitions = self
            .client()
            .await?
            .execute_task(headers, task, metrics, context)
            .await
            .map_err(about_us)?;
        let named = |partition: BoxStream<'static, Result<RecordBatch, DataFusionError>>| {
            let address = self.address.clone();
            partition
                .map(move |batch| batch.map_err(|error| about(&address, error)))
                .boxed()
        };
        Ok(partitions.into_iter().map(named).collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse, DataFusionError> {
        self.client()
            .await?
            .get_worker_info(request)
            .await
            .map_err(|error| about(&self.address, error))
    }
}

/// `error` with the name of the executor, where it is the executor and not its task that failed.
fn about(address: &Url, error: DataFusionError) -> DataFusionError {
    let status = match &error {
        DataFusionError::External(inner) => inner.downcast_ref::<Status>(),
        _ => None,
    };
    let ours = status
        .and_then(|status| of_status(address, status))
        .or_else(|| Error::recognise(&error));
    ours.map_or(error, DataFusionError::from)
}

/// What a gRPC status says about the executor. Only transports and doors make statuses: a task's own errors arrive as
/// what they are.
fn of_status(address: &Url, status: &Status) -> Option<Error> {
    let made_here = status.source().is_some();
    match status.code() {
        Code::FailedPrecondition => Some(refused(address, status.message())),
        Code::Unimplemented => Some(refused(address, "what listens there is no executor")),
        Code::OutOfRange => Some(Error::PlanTooLarge {
            bytes_max: PLAN_BYTES_MAX,
        }),
        Code::Unavailable | Code::Cancelled | Code::Unknown | Code::DeadlineExceeded => {
            Some(unreachable(address, reason(status)))
        }
        _ if made_here => Some(unreachable(address, reason(status))),
        _ => None,
    }
}

fn reason(status: &Status) -> String {
    status.source().map_or_else(|| status.message().to_owned(), innermost)
}
