//! Ending without losing a query: once an executor drains it takes no new tasks, and those it has run to their end.
//! What they still need of it, such as the rows of a task that nobody has asked for yet, stays to be had. A drain can be
//! taken back until the last of them is over.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Body as HttpBody;
use tonic::server::NamedService;
use tower::Service;

/// The end of the path of the call that gives an executor a task. It lasts as long as the query.
const NEW_TASK: &str = "/CoordinatorChannel";

/// Whether an executor is about to end, and the calls that it still answers. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drain {
    calls: TaskTracker,
    begun: Arc<AtomicBool>,
}

impl Drain {
    /// No new tasks from now on.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::SeqCst);
        self.calls.close();
    }

    /// New tasks are welcome again.
    pub(crate) fn take_back(&self) {
        self.calls.reopen();
        self.begun.store(false, Ordering::SeqCst);
    }

    /// True once it has begun, and was not taken back.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::SeqCst)
    }

    /// Counts one more call for as long as the answer lives; none once it has begun.
    pub(crate) fn enter(&self) -> Option<TaskTrackerToken> {
        let call = self.calls.token();
        // Asked after the call is counted: whoever begins to drain sees it, or it sees that.
        (!self.has_begun()).then_some(call)
    }

    /// Waits, after [`Drain::begin`], until no task is left.
    pub(crate) async fn finished(&self) {
        self.calls.wait().await;
    }

    /// Calls whose answers are not over.
    pub(crate) fn calls(&self) -> usize {
        self.calls.len()
    }
}

/// A service whose calls `drain` knows of.
#[derive(Clone)]
pub(crate) struct Drained<S> {
    service: S,
    drain: Drain,
}

impl<S> Drained<S> {
    pub(crate) fn new(service: S, drain: Drain) -> Self {
        Self { service, drain }
    }
}

impl<S: NamedService> NamedService for Drained<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Drained<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let call = self.drain.calls.token();
        // Asked after the call is counted: whoever begins to drain sees it, or it sees that.
        if self.drain.has_begun() && request.uri().path().ends_with(NEW_TASK) {
            let refused = Status::aborted("it takes no new tasks, since it is about to end");
            return Box::pin(std::future::ready(Ok(refused.into_http())));
        }
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            Ok(answer.map(|body| Body::new(Counted { body, _call: call })))
        })
    }
}

/// The body of an answer, counted until it is over or given up.
struct Counted {
    body: Body,
    _call: TaskTrackerToken,
}

impl HttpBody for Counted {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}
