//! What an executor tells about itself to those who want to know whether it lives, and the credentials that it takes from
//! them.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::num::NonZero;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::available_parallelism;

use catalog::Stores;
use futures::future::BoxFuture;
use proto::{ExecutorStatus, ExecutorStatusRequest, LendRequest, LendResponse, ResultsAddress};
use tonic::body::Body;
use tonic::server::{NamedService, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;
use uuid::Uuid;

use super::drain::Drain;
use crate::cluster::lending::{self, LEND_PATH};

/// Answers [`STATUS_PATH`](crate::cluster::probe::STATUS_PATH) and [`LEND_PATH`].
#[derive(Debug, Clone)]
pub(crate) struct StatusService {
    instance: String,
    cores: u32,
    drain: Drain,
    stores: Arc<Stores>,
    results: Option<ResultsAddress>,
}

impl StatusService {
    /// For an executor that started just now, reads and writes files through `stores` and hands out `results` there.
    pub(crate) fn new(drain: Drain, stores: Arc<Stores>, results: Option<ResultsAddress>) -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            instance: Uuid::now_v7().to_string(),
            cores: u32::try_from(cores).unwrap_or(u32::MAX),
            drain,
            stores,
            results,
        }
    }
}

impl NamedService for StatusService {
    const NAME: &'static str = "lakewing.v1.Executor";
}

impl Service<http::Request<Body>> for StatusService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.clone();
        Box::pin(async move {
            if request.uri().path() == LEND_PATH {
                let codec = ProstCodec::<LendResponse, LendRequest>::default();
                return Ok(tonic::server::Grpc::new(codec).unary(answer, request).await);
            }
            let codec = ProstCodec::<ExecutorStatus, ExecutorStatusRequest>::default();
            Ok(tonic::server::Grpc::new(codec).unary(answer, request).await)
        })
    }
}

impl UnaryService<ExecutorStatusRequest> for StatusService {
    type Response = ExecutorStatus;
    type Future = Ready<Result<Response<ExecutorStatus>, Status>>;

    fn call(&mut self, _: Request<ExecutorStatusRequest>) -> Self::Future {
        ready(Ok(Response::new(ExecutorStatus {
            instance: self.instance.clone(),
            draining: self.drain.has_begun(),
            cores: self.cores,
            calls: u32::try_from(self.drain.calls()).unwrap_or(u32::MAX),
            results: self.results.clone(),
        })))
    }
}

impl UnaryService<LendRequest> for StatusService {
    type Response = LendResponse;
    type Future = Ready<Result<Response<LendResponse>, Status>>;

    fn call(&mut self, request: Request<LendRequest>) -> Self::Future {
        let mut loans = request.into_inner().loans.into_iter().map(lending::read);
        let taken = loans.try_for_each(|loan| self.stores.receive(loan));
        let refused = |error: catalog::Error| Status::invalid_argument(error.to_string());
        ready(taken.map(|()| Response::new(LendResponse {})).map_err(refused))
    }
}
