//! The Flight service that clients fetch from: DoGet of a ticket that a server has offered, and nothing else.

use std::pin::Pin;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt, stream};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::Results;
use crate::results::FlightStream;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// What a client that logs in is told to show: drivers insist on something.
const NO_TOKEN: &str = "Bearer none";

pub(super) struct Door(Results);

impl Door {
    pub(super) fn new(results: Results) -> Self {
        Self(results)
    }

    async fn fetch(&self, ticket: &[u8]) -> Result<FlightStream, Status> {
        let gone = || Status::unavailable("no server offers these rows here: fetch them from the server");
        let call = self.0.drain.enter().ok_or_else(gone)?;
        let waiting = self.0.offers.ask(ticket).ok_or_else(gone)?;
        let rows = waiting.answer().await.ok_or_else(gone)??;
        // An executor that is about to end waits for the last row.
        Ok(Box::pin(rows.map(move |message| {
            let _held = &call;
            message
        })))
    }
}

fn refused<T>() -> Result<T, Status> {
    Err(Status::unimplemented(
        "an executor hands out rows for tickets, and nothing else: ask the server",
    ))
}

#[tonic::async_trait]
impl FlightService for Door {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = FlightStream;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;

    /// Drivers with a name and a password log in wherever they are sent. Neither is looked at: the ticket is the right.
    async fn handshake(
        &self,
        _: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let answers: Answers<_> = Box::pin(stream::iter([Ok(HandshakeResponse::default())]));
        let mut response = Response::new(answers);
        let token = MetadataValue::from_static(NO_TOKEN);
        response.metadata_mut().insert("authorization", token);
        Ok(response)
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        Ok(Response::new(self.fetch(&request.get_ref().ticket).await?))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        refused()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        refused()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        refused()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        refused()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        refused()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        refused()
    }

    async fn do_action(&self, _: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        refused()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        refused()
    }
}
