//! Talking to executors: connections as the library asks for them, and errors that say which executor they are about.

#[cfg(test)]
#[path = "channel_tests.rs"]
mod tests;

use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::error::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{
    ChannelResolver, CoordinatorToWorkerMsg, ExecuteTaskRequest, GetWorkerInfoRequest, GetWorkerInfoResponse,
    SetPlanRequest, WorkerChannel, WorkerToCoordinatorMsg,
};
use futures::stream::{self, BoxStream, StreamExt};
use http::HeaderMap;
use tokio::sync::oneshot;
use tonic::{Code, Status};
use url::Url;

use super::failure::Reporter;
use super::service::PLAN_BYTES_MAX;
use crate::cluster::channel::{Channels, of_status};
use crate::error::{Error, Result};

/// The rows of one partition on their way.
type Partition = BoxStream<'static, Result<RecordBatch, DataFusionError>>;

/// A task whose rows nobody has asked for after this time is asked for its first ones. The library asks when the rows are
/// wanted, which for the second input of a join is when the first has been read; and it makes an executor forget a task
/// that was not asked for within ten minutes. Stages wait one after another: up to twenty may lie below each other.
const PATIENCE: Duration = Duration::from_secs(30);

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
            let error = Arc::new(about(&address, error, None));
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
        let about_us = |error| about(&self.address, error, Some(context.as_ref()));
        let mut client = self.client().await.map_err(about_us)?;
        let partitions = client
            .execute_task(headers, task, metrics, context)
            .await
            .map_err(about_us)?;
        let named = |partition: Partition| {
            let (address, context) = (self.address.clone(), Arc::clone(context));
            partition
                .map(move |batch| batch.map_err(|error| about(&address, error, Some(context.as_ref()))))
                .boxed()
        };
        let mut partitions = partitions.into_iter().map(named);
        let first = partitions.next().map(|first| awaited(first, PATIENCE));
        Ok(first.into_iter().chain(partitions).collect())
    }

    async fn get_worker_info(
        &mut self,
        request: GetWorkerInfoRequest,
    ) -> Result<GetWorkerInfoResponse, DataFusionError> {
        self.client()
            .await?
            .get_worker_info(request)
            .await
            .map_err(|error| about(&self.address, error, None))
    }
}

/// `partition`, whose first rows are fetched after `patience` although nobody asked.
fn awaited(partition: Partition, patience: Duration) -> Partition {
    let (wanted, waiting) = oneshot::channel::<()>();
    let fetching = SpawnedTask::spawn(async move {
        let mut partition = partition;
        // An error says that nobody will ever ask: then this task is dropped as well.
        let asked = tokio::time::timeout(patience, waiting).await.is_ok();
        let first = match asked {
            true => None,
            false => Some(partition.next().await),
        };
        (first, partition)
    });
    let all = async move {
        if wanted.send(()).is_err() {
            tracing::debug!("rows were fetched before they were wanted");
        }
        match fetching.join().await {
            Ok((None, rest)) => rest,
            Ok((Some(None), _)) => stream::empty().boxed(),
            Ok((Some(Some(first)), rest)) => stream::once(ready(first)).chain(rest).boxed(),
            Err(error) => stream::once(ready(Err(DataFusionError::ExecutionJoin(Box::new(error))))).boxed(),
        }
    };
    stream::once(all).flatten().boxed()
}

/// `error` with the name of the executor, where it is the executor and not its task that failed. Coordinators get it as
/// [`Error`], executors in the form that they can send on.
fn about(address: &Url, error: DataFusionError, context: Option<&TaskContext>) -> DataFusionError {
    let status = match &error {
        DataFusionError::External(inner) => inner.downcast_ref::<Status>(),
        _ => None,
    };
    let ours = match status.map(|status| (status.code(), status)) {
        Some((Code::OutOfRange, _)) => Some(Error::PlanTooLarge {
            bytes_max: PLAN_BYTES_MAX,
        }),
        Some((_, status)) => of_status(address, status),
        None => Error::recognise(&error),
    };
    let coordinates = |context: &TaskContext| context.session_config().get_extension::<Reporter>().is_some();
    match ours {
        None => error,
        Some(ours) if context.is_none_or(coordinates) => DataFusionError::from(ours),
        Some(ours) => ours.into_portable(),
    }
}
