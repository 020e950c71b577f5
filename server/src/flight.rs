//! The Flight SQL front door: decodes each call, finds out who calls, and hands it to the file of its family. What is
//! not offered is refused here by name.
//!
//! ```text
//! GetFlightInfo -> plan -> columns + ticket      DoGet -> verify ticket -> plan -> run -> rows
//! ```

mod handshake;
mod metadata;
mod parameters;
mod prepared;
mod schema;
mod sql_info;
mod statement;
mod stream;
mod ticket;
mod xdbc_types;

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, Any, Command, DoPutUpdateResult,
    ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream as streams};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error};

use self::metadata::Metadata;
use self::prepared::PreparedStatements;
use self::statement::Offer;
use self::stream::FlightStream;
use self::ticket::Handles;
use crate::auth::{Authenticator, Caller};
use crate::error::{Error, Result};
use crate::query::Queries;
use crate::session::Sessions;

/// A message of ours that a client may send: parameters and handles travel in it.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;

const CREATE_PREPARED_STATEMENT: &str = "CreatePreparedStatement";
const CLOSE_PREPARED_STATEMENT: &str = "ClosePreparedStatement";

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service behind every Flight SQL connection.
pub(crate) struct Flight {
    queries: Queries,
    auth: Authenticator,
    sessions: Sessions,
    handles: Handles,
    prepared: PreparedStatements,
    metadata: Metadata,
}

impl Flight {
    /// Serves `queries` to whom `auth` lets in.
    pub(crate) fn new(queries: Queries, auth: Authenticator, sessions: Sessions) -> Result<Self> {
        let handles = Handles::new(auth.seal());
        let metadata = Metadata::new(Arc::clone(queries.lakehouse()))?;
        Ok(Self {
            queries,
            auth,
            sessions,
            handles,
            prepared: PreparedStatements::new(),
            metadata,
        })
    }

    /// The service as tonic serves it.
    pub(crate) fn into_server(self) -> FlightServiceServer<Self> {
        FlightServiceServer::new(self).max_decoding_message_size(REQUEST_BYTES_MAX)
    }

    async fn offer_rows(&self, caller: &Caller, descriptor: &FlightDescriptor) -> Result<Offer> {
        let command = command(&descriptor.cmd)?;
        if let Some(schema) = self.metadata.schema(&command) {
            return Ok(Offer {
                schema,
                ticket: descriptor.cmd.clone(),
            });
        }
        match command {
            Command::CommandStatementQuery(statement) => {
                refuse_transaction(statement.transaction_id.as_ref())?;
                self.offer_statement(caller, statement.query, Vec::new()).await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = self.open_prepared(caller, &query.prepared_statement_handle).await?;
                self.offer_statement(caller, statement.sql, statement.parameters).await
            }
            other => Err(refusal(&other)),
        }
    }

    async fn schema(&self, caller: &Caller, descriptor: &FlightDescriptor) -> Result<SchemaRef> {
        let command = command(&descriptor.cmd)?;
        if let Some(schema) = self.metadata.schema(&command) {
            return Ok(schema);
        }
        match command {
            Command::CommandStatementQuery(statement) => self.statement_schema(caller, &statement.query, &[]).await,
            Command::CommandPreparedStatementQuery(query) => {
                let statement = self.open_prepared(caller, &query.prepared_statement_handle).await?;
                self.statement_schema(caller, &statement.sql, &statement.parameters)
                    .await
            }
            other => Err(refusal(&other)),
        }
    }

    async fn fetch(&self, caller: &Caller, ticket: &Ticket) -> Result<FlightStream> {
        match command(&ticket.ticket)? {
            Command::TicketStatementQuery(ticket) => self.fetch_statement(caller, &ticket).await,
            other => match self.metadata.rows(other).await? {
                Some(rows) => Ok(stream::of_batch(rows)),
                None => Err(Error::request("this ticket is none that the server gives out")),
            },
        }
    }

    async fn put(&self, caller: &Caller, mut messages: Streaming<FlightData>) -> Result<Bytes> {
        let first = messages
            .message()
            .await
            .map_err(|status| Error::request(status.message()))?;
        let first = first.ok_or_else(|| Error::request("the upload is empty"))?;
        let descriptor = first.flight_descriptor.as_ref();
        let descriptor = descriptor.ok_or_else(|| Error::request("the upload does not begin with a descriptor"))?;
        let record_count = match command(&descriptor.cmd)? {
            Command::CommandPreparedStatementQuery(query) => {
                let packed = parameters::receive(streams::iter([Ok(first)]).chain(messages)).await?;
                return self.bind(caller, &query.prepared_statement_handle, packed).await;
            }
            Command::CommandStatementUpdate(update) => {
                refuse_transaction(update.transaction_id.as_ref())?;
                self.update(caller, &update.query).await?
            }
            Command::CommandPreparedStatementUpdate(update) => {
                let statement = self.open_prepared(caller, &update.prepared_statement_handle).await?;
                self.update(caller, &statement.sql).await?
            }
            other => return Err(refusal(&other)),
        };
        Ok(DoPutUpdateResult { record_count }.encode_to_vec().into())
    }

    /// Runs an action; the answer is one message or none.
    async fn act(&self, caller: &Caller, action: &Action) -> Result<Option<Bytes>> {
        match action.r#type.as_str() {
            CREATE_PREPARED_STATEMENT => {
                let request: ActionCreatePreparedStatementRequest = unpack(&action.body)?;
                self.create_prepared(caller, request).await.map(Some)
            }
            CLOSE_PREPARED_STATEMENT => {
                let request: ActionClosePreparedStatementRequest = unpack(&action.body)?;
                self.close_prepared(caller, request).await.map(|()| None)
            }
            other => Err(Error::unsupported(format!("the action {other}"), "")),
        }
    }
}

#[tonic::async_trait]
impl FlightService for Flight {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = FlightStream;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        handshake::handshake(&self.auth, &request).await
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        let caller = self.auth.caller(&request).await?;
        let descriptor = request.into_inner();
        let offer = self.offer_rows(&caller, &descriptor).await.map_err(refuse)?;
        let info = FlightInfo {
            schema: schema::encode(&offer.schema)?,
            ..FlightInfo::new()
                .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(offer.ticket)))
                .with_descriptor(descriptor)
        };
        Ok(Response::new(info))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let caller = self.auth.caller(&request).await?;
        let schema = self.schema(&caller, request.get_ref()).await.map_err(refuse)?;
        Ok(Response::new(SchemaResult {
            schema: schema::encode(&schema)?,
        }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = self.auth.caller(&request).await?;
        let rows = self.fetch(&caller, request.get_ref()).await.map_err(refuse)?;
        Ok(Response::new(rows))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let caller = self.auth.caller(&request).await?;
        let app_metadata = self.put(&caller, request.into_inner()).await.map_err(refuse)?;
        Ok(Response::new(Box::pin(streams::iter([Ok(PutResult { app_metadata })]))))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = self.auth.caller(&request).await?;
        let answer = self.act(&caller, request.get_ref()).await.map_err(refuse)?;
        let results = answer.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(Box::pin(streams::iter(results))))
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.auth.caller(&request).await?;
        let actions = [
            (
                CREATE_PREPARED_STATEMENT,
                "Makes a statement that can be executed many times, with parameters.",
            ),
            (CLOSE_PREPARED_STATEMENT, "Ends a prepared statement."),
        ];
        let actions = actions.map(|(name, about)| {
            Ok(ActionType {
                r#type: name.to_owned(),
                description: about.to_owned(),
            })
        });
        Ok(Response::new(Box::pin(streams::iter(actions))))
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        Err(Error::unsupported("PollFlightInfo", "").into())
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Error::unsupported("ListFlights", ": ask for tables with CommandGetTables").into())
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Error::unsupported("DoExchange", "").into())
    }
}

/// The command in a descriptor or ticket.
fn command(packed: &[u8]) -> Result<Command> {
    let malformed = |detail: String| Error::request(format!("the message is no Flight SQL command: {detail}"));
    let any = Any::decode(packed).map_err(|error| malformed(error.to_string()))?;
    if any.type_url.is_empty() {
        return Err(malformed("it has no type".to_owned()));
    }
    Command::try_from(any).map_err(|error| malformed(error.to_string()))
}

fn unpack<M: ProstMessageExt>(packed: &[u8]) -> Result<M> {
    let malformed = || Error::request(format!("the action's body is no {}", M::type_url()));
    let any = Any::decode(packed).map_err(|_| malformed())?;
    any.unpack().ok().flatten().ok_or_else(malformed)
}

/// Refuses a command by the last part of its name.
fn refusal(command: &Command) -> Error {
    let url = command.type_url();
    Error::unsupported(url.rsplit_once('.').map_or(url, |(_, name)| name), "")
}

fn refuse_transaction(transaction: Option<&Bytes>) -> Result<()> {
    match transaction {
        Some(id) if !id.is_empty() => Err(Error::unsupported("a statement inside a transaction", "")),
        _ => Ok(()),
    }
}

/// The status a client gets, and the only place where a failed call is logged.
fn refuse(error: Error) -> Status {
    match error.kind() {
        proto::ErrorKind::Internal => error!(%error, "call failed"),
        kind => debug!(%error, ?kind, "call refused"),
    }
    error.into()
}
