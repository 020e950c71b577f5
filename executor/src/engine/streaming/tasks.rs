//! How far the tasks of a query are: executors remember the plans of their tasks, and the coordinator asks them while
//! the query runs. The library tells only when a task has ended, which is when the query has.

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use datafusion::physical_plan::ExecutionPlan;
use futures::future::{BoxFuture, join_all};
use http::uri::PathAndQuery;
use proto::{TaskProgress, TaskProgressRequest};
use tonic::body::Body;
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;
use url::Url;

use crate::cluster::Cluster;
use crate::cluster::channel::Channels;
use crate::cluster::members::Peer;
use crate::engine::progress::files;

/// Shorter queries are not asked about, and no query more often.
const INTERVAL: Duration = Duration::from_millis(500);
const PATH: &str = "/lakewing.v1.TaskProgress/Get";

/// The plans of the tasks of one executor, by query, as long as their tasks keep them.
#[derive(Default)]
pub(crate) struct Tasks(Mutex<HashMap<String, Vec<Weak<dyn ExecutionPlan>>>>);

impl Tasks {
    /// Remembers the plan of a task of `query`, and forgets queries that have ended.
    pub(crate) fn enter(&self, query: &str, plan: &Arc<dyn ExecutionPlan>) {
        let mut queries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queries.retain(|_, plans| plans.iter().any(|plan| plan.strong_count() > 0));
        queries.entry(query.to_owned()).or_default().push(Arc::downgrade(plan));
    }

    fn progress(&self, query: &str) -> TaskProgress {
        let plans: Vec<_> = {
            let queries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let plans = queries.get(query).into_iter().flatten();
            plans.filter_map(Weak::upgrade).collect()
        };
        let mut progress = TaskProgress::default();
        for (done, all) in plans.iter().map(files) {
            progress.files_done += done;
            progress.files += all as u64;
        }
        progress
    }
}

/// [`Tasks`] as coordinators ask for them.
#[derive(Clone)]
pub(super) struct TasksService(Arc<Tasks>);

impl TasksService {
    pub(super) fn new(tasks: Arc<Tasks>) -> Self {
        Self(tasks)
    }
}

impl NamedService for TasksService {
    const NAME: &'static str = "lakewing.v1.TaskProgress";
}

impl Service<http::Request<Body>> for TasksService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = Answer(Arc::clone(&self.0));
        Box::pin(async move {
            let codec = ProstCodec::<TaskProgress, TaskProgressRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(answer, request).await)
        })
    }
}

struct Answer(Arc<Tasks>);

impl UnaryService<TaskProgressRequest> for Answer {
    type Response = TaskProgress;
    type Future = Ready<Result<Response<TaskProgress>, Status>>;

    fn call(&mut self, request: Request<TaskProgressRequest>) -> Self::Future {
        ready(Ok(Response::new(self.0.progress(&request.get_ref().query))))
    }
}

/// The progress of a query on all executors of a cluster, asked for until this is dropped.
pub(in crate::engine) struct Elsewhere {
    fraction: Arc<AtomicU64>,
    _asking: SpawnedTask<()>,
}

impl Elsewhere {
    /// Of the tasks that `peers` have of `query`.
    pub(in crate::engine) fn watch(cluster: &Arc<Cluster>, peers: Vec<Peer>, query: String) -> Self {
        let fraction = Arc::new(AtomicU64::new(0));
        let (told, cluster) = (Arc::clone(&fraction), Arc::clone(cluster));
        let asking = SpawnedTask::spawn(async move {
            loop {
                tokio::time::sleep(INTERVAL).await;
                let asked = peers.iter().map(|peer| &peer.address);
                let answers = join_all(asked.map(|address| ask(cluster.channels(), address, &query))).await;
                let (mut done, mut all) = (0.0, 0);
                for answer in answers.into_iter().flatten() {
                    done += answer.files_done;
                    all += answer.files;
                }
                if all > 0 {
                    told.store((done / all as f64).to_bits(), Ordering::Relaxed);
                }
            }
        });
        Self {
            fraction,
            _asking: asking,
        }
    }

    /// The finished part, from 0 to 1.
    pub(in crate::engine) fn fraction(&self) -> f64 {
        f64::from_bits(self.fraction.load(Ordering::Relaxed))
    }
}

/// Nothing where the executor does not answer: the query itself hears of that.
async fn ask(channels: &Channels, address: &Url, query: &str) -> Option<TaskProgress> {
    let mut client = tonic::client::Grpc::new(channels.channel(address).await.ok()?);
    client.ready().await.ok()?;
    let request = Request::new(TaskProgressRequest {
        query: query.to_owned(),
    });
    let codec = ProstCodec::<TaskProgressRequest, TaskProgress>::default();
    let answer = client.unary(request, PathAndQuery::from_static(PATH), codec).await;
    answer.ok().map(Response::into_inner)
}
