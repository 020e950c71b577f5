//! Results that clients fetch from this executor: a second door, of Flight, that opens to tickets which a server has
//! offered. Who may see the rows, and when, the server decides for each call; the rows go past it.
//!
//! ```text
//!   client ──DoGet(ticket)──► executor ──Asked──► server: admits, plans
//!      ▲                         │ ◄──Deliver(plan)──┘
//!      └──────── rows ───────────┘ ──news──► server: counts, ends
//! ```

mod delivery;
mod door;
mod offers;

use std::convert::Infallible;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::future::BoxFuture;
use proto::{Asked, DeliverNews, DeliverOrder, OfferRequest, ResultsAddress};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::server::{NamedService, ServerStreamingService, StreamingService};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;
use tower::Service;

use super::drain::Drain;
use crate::config::ResultsConfig;
use crate::engine::direct::{MESSAGE_BYTES_MAX, Runner};
use crate::error::{Error, Result};

use door::Door;
use offers::Offers;

/// Where a coordinator offers a result.
pub(crate) const OFFER_PATH: &str = "/lakewing.v1.Results/Offer";
/// Where it answers a client's call.
pub(crate) const DELIVER_PATH: &str = "/lakewing.v1.Results/Deliver";

/// Calls that one client may have open.
const STREAMS_MAX: u32 = 1024;

/// What coordinators and clients of one executor share. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Results {
    offers: Arc<Offers>,
    runner: Arc<Runner>,
    drain: Drain,
}

impl Results {
    /// Of plans that `runner` runs, until `drain` says so.
    pub(super) fn new(runner: Runner, drain: Drain) -> Self {
        Self {
            offers: Arc::default(),
            runner: Arc::new(runner),
            drain,
        }
    }

    /// Nothing is to be fetched any more: coordinators are told.
    pub(super) fn close(&self) {
        self.offers.close();
    }
}

/// The door that clients come through, listening.
#[derive(Debug)]
pub(super) struct ClientDoor {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<ServerTlsConfig>,
    address: ResultsAddress,
}

impl ClientDoor {
    /// Connections wait until they are served.
    pub(super) async fn bind(config: &ResultsConfig) -> Result<Self> {
        let failed = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address: SocketAddr = listener.local_addr().map_err(failed)?;
        let tls = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                let certificate = read("results.certificate", certificate)?;
                let identity = Identity::from_pem(certificate, read("results.key", key)?);
                Some(ServerTlsConfig::new().identity(identity))
            }
            _ => None,
        };
        let address = ResultsAddress {
            host: config.host.clone().unwrap_or_default(),
            port: u32::from(address.port()),
            tls: tls.is_some(),
        };
        Ok(Self { listener, tls, address })
    }

    /// As coordinators are told.
    pub(super) fn address(&self) -> ResultsAddress {
        self.address.clone()
    }
}

/// What serves clients, on the connections of `server`.
pub(super) fn router(server: Server, results: &Results) -> tonic::transport::server::Router {
    let door = FlightServiceServer::new(Door::new(results.clone()));
    server.max_concurrent_streams(STREAMS_MAX).add_service(door)
}

fn read(key: &str, file: &Path) -> Result<Vec<u8>> {
    fs::read(file).map_err(|error| Error::Config {
        key: key.to_owned(),
        detail: format!("cannot read {}: {error}", file.display()),
    })
}

impl std::fmt::Debug for Results {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Results").finish_non_exhaustive()
    }
}

impl NamedService for Results {
    const NAME: &'static str = "lakewing.v1.Results";
}

impl Service<http::Request<Body>> for Results {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, std::result::Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let results = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                OFFER_PATH => {
                    let codec = ProstCodec::<Asked, OfferRequest>::default();
                    tonic::server::Grpc::new(codec).server_streaming(results, request).await
                }
                DELIVER_PATH => {
                    let codec = ProstCodec::<DeliverNews, DeliverOrder>::default();
                    let mut server = tonic::server::Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES_MAX);
                    server.streaming(results, request).await
                }
                _ => Status::unimplemented("executors of this version cannot do that").into_http(),
            })
        })
    }
}

impl ServerStreamingService<OfferRequest> for Results {
    type Response = Asked;
    type ResponseStream = offers::Asking;
    type Future = BoxFuture<'static, std::result::Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<OfferRequest>) -> Self::Future {
        let offers = Arc::clone(&self.offers);
        Box::pin(async move { Ok(Response::new(offers.take(&request.get_ref().ticket_digest)?)) })
    }
}

impl StreamingService<DeliverOrder> for Results {
    type Response = DeliverNews;
    type ResponseStream = delivery::News;
    type Future = BoxFuture<'static, std::result::Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<DeliverOrder>>) -> Self::Future {
        let results = self.clone();
        Box::pin(async move { Ok(Response::new(delivery::deliver(&results, request.into_inner()).await?)) })
    }
}
