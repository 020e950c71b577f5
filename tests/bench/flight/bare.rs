//! A Flight server that does nothing but send batches it holds: as fast as the protocol and its libraries allow.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Result;
use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt, TryStreamExt, stream};
use harness::{Client, free_port};
use tokio::task::JoinSet;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The server, until it is dropped.
pub(super) struct Bare {
    pub(super) address: SocketAddr,
    _serving: JoinSet<Result<(), tonic::transport::Error>>,
}

impl Bare {
    /// Serves `batches` as the answer to every query.
    pub(super) async fn start(batches: Vec<RecordBatch>) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let service = FlightServiceServer::new(Batches(batches.into()));
        let mut serving = JoinSet::new();
        serving.spawn(Server::builder().add_service(service).serve(address));
        while Client::connect(address).await.is_err() {
            tokio::task::yield_now().await;
        }
        Ok(Self {
            address,
            _serving: serving,
        })
    }
}

struct Batches(Arc<[RecordBatch]>);

fn not_offered<T>() -> Result<T, Status> {
    Err(Status::unimplemented("a bare server"))
}

#[tonic::async_trait]
impl FlightService for Batches {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let descriptor = request.into_inner();
        if !String::from_utf8_lossy(&descriptor.cmd).contains("CommandStatementQuery") {
            return not_offered();
        }
        let schema = self
            .0
            .first()
            .map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(|error| Status::internal(error.to_string()))?
            .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new("all")))
            .with_descriptor(descriptor);
        Ok(Response::new(info))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let batches = Arc::clone(&self.0);
        let batches = stream::iter(0..batches.len()).map(move |index| Ok(batches[index].clone()));
        let messages = FlightDataEncoderBuilder::new().build(batches);
        Ok(Response::new(Box::pin(messages.map_err(Status::from))))
    }

    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_offered()
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_offered()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        not_offered()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        not_offered()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        not_offered()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        not_offered()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        not_offered()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        not_offered()
    }
}
