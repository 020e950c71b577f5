//! The Flight SQL front door: decodes each call, finds out who calls, and hands it to the file of its family. What is
//! not offered is refused here by name.
//!
//! ```text
//! GetFlightInfo -> plan -> columns + ticket      DoGet -> verify ticket -> plan -> run -> rows
//! ```

mod cancel;
mod handshake;
mod ingest;
mod metadata;
mod parameters;
mod poll;
mod prepared;
mod request_size;
mod schema;
mod session;
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
    ActionCancelQueryRequest, ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedSubstraitPlanRequest, Any, Command, DoPutUpdateResult, ProstMessageExt, SubstraitPlan,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    Location, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream as streams};
use prost::Message;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};
use tracing::{debug, error};

use self::metadata::Metadata;
use self::prepared::PreparedStatements;
pub(crate) use self::request_size::{Limit, limit_requests};
use self::statement::{OFFERS_MAX, Offer, fetches_side_by_side};
use self::stream::FlightStream;
use self::ticket::Handles;
use crate::auth::{Authenticator, Caller};
use crate::error::{Error, Result};
use crate::query::{Bound, Queries, Source, Spool};
use crate::session::{Session, Sessions};
use crate::shutdown::Lifecycle;
use crate::telemetry::query_tags;

/// A message of an upload: rows are sent as the client has them.
const UPLOAD_MESSAGE_BYTES_MAX: usize = 256 * 1024 * 1024;

const CREATE_PREPARED_STATEMENT: &str = "CreatePreparedStatement";
const CREATE_PREPARED_SUBSTRAIT_PLAN: &str = "CreatePreparedSubstraitPlan";
const CLOSE_PREPARED_STATEMENT: &str = "ClosePreparedStatement";
const CANCEL_QUERY: &str = "CancelQuery";
const CANCEL_FLIGHT_INFO: &str = "CancelFlightInfo";
const RENEW_FLIGHT_ENDPOINT: &str = "RenewFlightEndpoint";
const SET_SESSION_OPTIONS: &str = "SetSessionOptions";
const GET_SESSION_OPTIONS: &str = "GetSessionOptions";
const CLOSE_SESSION: &str = "CloseSession";

/// Every action, and what it does.
const ACTIONS: [(&str, &str); 9] = [
    (
        CREATE_PREPARED_STATEMENT,
        "Makes a statement that can be executed many times, with parameters.",
    ),
    (
        CREATE_PREPARED_SUBSTRAIT_PLAN,
        "As CreatePreparedStatement, of a Substrait plan that gives rows.",
    ),
    (CLOSE_PREPARED_STATEMENT, "Ends a prepared statement."),
    (
        CANCEL_FLIGHT_INFO,
        "Ends the query of a FlightInfo, here and on all executors.",
    ),
    (CANCEL_QUERY, "As CancelFlightInfo, for older clients."),
    (RENEW_FLIGHT_ENDPOINT, "Keeps a stored result longer."),
    (SET_SESSION_OPTIONS, "Sets options of the session, as SQL's SET does."),
    (GET_SESSION_OPTIONS, "Lists the options of the session."),
    (CLOSE_SESSION, "Ends the session and its queries."),
];

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service behind every Flight SQL connection.
pub(crate) struct Flight {
    queries: Queries,
    auth: Authenticator,
    sessions: Arc<Sessions>,
    spool: Arc<Spool>,
    tasks: Lifecycle,
    handles: Handles,
    prepared: PreparedStatements,
    metadata: Metadata,
    /// Places for results that executors offer.
    offers: Arc<Semaphore>,
    /// Whether clients are served over TLS.
    encrypted: bool,
}

/// What the door leads to.
pub(crate) struct Rooms {
    pub(crate) queries: Queries,
    pub(crate) sessions: Sessions,
    pub(crate) spool: Arc<Spool>,
    /// Runs what goes on without a call.
    pub(crate) tasks: Lifecycle,
}

impl Flight {
    /// Opens `rooms` to whom `auth` lets in, over connections that are `encrypted` or not.
    pub(crate) fn new(rooms: Rooms, auth: Authenticator, encrypted: bool) -> Result<Self> {
        let Rooms {
            queries,
            sessions,
            spool,
            tasks,
        } = rooms;
        let (spool_to_clean, stop) = (Arc::clone(&spool), tasks.stop());
        tasks.spawn(async move {
            stop.run_until_cancelled(spool_to_clean.keep_clean()).await;
        });
        let handles = Handles::new(auth.seal());
        let metadata = Metadata::new(Arc::clone(queries.access()))?;
        Ok(Self {
            queries,
            auth,
            sessions: Arc::new(sessions),
            spool,
            tasks,
            handles,
            prepared: PreparedStatements::new(),
            metadata,
            offers: Arc::new(Semaphore::new(OFFERS_MAX)),
            encrypted,
        })
    }

    /// The service as tonic serves it.
    pub(crate) fn into_server(self) -> FlightServiceServer<Self> {
        FlightServiceServer::new(self).max_decoding_message_size(UPLOAD_MESSAGE_BYTES_MAX)
    }

    async fn offer_rows(&self, caller: &Caller, descriptor: &FlightDescriptor) -> Result<Offer> {
        let command = command(&descriptor.cmd)?;
        if let Some(schema) = self.metadata.schema(&command) {
            return Ok(Offer::of_rows(schema, descriptor.cmd.clone()));
        }
        match command {
            Command::CommandStatementQuery(statement) => {
                refuse_transaction(statement.transaction_id.as_ref())?;
                let session = self.sessions.of(caller).await;
                self.offer_statement(caller, session, Source::Sql(&statement.query), Vec::new())
                    .await
            }
            Command::CommandStatementSubstraitPlan(statement) => {
                refuse_transaction(statement.transaction_id.as_ref())?;
                let plan = substrait_plan(statement.plan)?;
                let session = self.sessions.of(caller).await;
                self.offer_statement(caller, session, Source::Substrait(&plan), Vec::new())
                    .await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = self.open_prepared(caller, &query.prepared_statement_handle).await?;
                let session = self.session_of(caller, statement.session).await;
                let source = Source::of(&statement.sql, &statement.substrait_plan);
                self.offer_statement(caller, session, source, statement.parameters)
                    .await
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
            Command::CommandStatementQuery(statement) => {
                let session = self.sessions.of(caller).await;
                self.statement_schema(&session, Source::Sql(&statement.query), &[])
                    .await
            }
            Command::CommandStatementSubstraitPlan(statement) => {
                let plan = substrait_plan(statement.plan)?;
                let session = self.sessions.of(caller).await;
                self.statement_schema(&session, Source::Substrait(&plan), &[]).await
            }
            Command::CommandPreparedStatementQuery(query) => {
                let statement = self.open_prepared(caller, &query.prepared_statement_handle).await?;
                let session = self.session_of(caller, statement.session).await;
                let source = Source::of(&statement.sql, &statement.substrait_plan);
                self.statement_schema(&session, source, &statement.parameters).await
            }
            other => Err(refusal(&other)),
        }
    }

    async fn fetch(&self, caller: &Caller, ticket: &Ticket) -> Result<FlightStream> {
        match command(&ticket.ticket)? {
            Command::TicketStatementQuery(ticket) => self.fetch_statement(caller, &ticket).await,
            other => {
                let session = self.sessions.of(caller).await;
                match self.metadata.rows(&session, &self.queries, other).await? {
                    Some(rows) => Ok(stream::of_batch(rows)),
                    None => Err(Error::request("this ticket is none that the server gives out")),
                }
            }
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
                let session = self.sessions.of(caller).await;
                self.update(caller, &session, &update.query, Bound::default()).await?
            }
            Command::CommandPreparedStatementUpdate(update) => {
                let statement = self.open_prepared(caller, &update.prepared_statement_handle).await?;
                if !statement.substrait_plan.is_empty() {
                    return Err(refuse_substrait_update());
                }
                let session = self.session_of(caller, statement.session).await;
                let mut rows = parameters::receive_rows(streams::iter([Ok(first)]).chain(messages)).await?;
                if rows.is_empty() {
                    rows = parameters::rows(&statement.parameters)?;
                }
                self.update(caller, &session, &statement.sql, Bound { rows }).await?
            }
            Command::CommandStatementSubstraitPlan(_) => return Err(refuse_substrait_update()),
            Command::CommandStatementIngest(ingest) => {
                self.ingest(caller, ingest, streams::iter([Ok(first)]).chain(messages))
                    .await?
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
            CREATE_PREPARED_SUBSTRAIT_PLAN => {
                let request: ActionCreatePreparedSubstraitPlanRequest = unpack(&action.body)?;
                self.create_prepared_substrait(caller, request).await.map(Some)
            }
            CLOSE_PREPARED_STATEMENT => {
                let request: ActionClosePreparedStatementRequest = unpack(&action.body)?;
                self.close_prepared(caller, request).await.map(|()| None)
            }
            CANCEL_QUERY => {
                let request: ActionCancelQueryRequest = unpack(&action.body)?;
                self.cancel_query(caller, request).await.map(Some)
            }
            CANCEL_FLIGHT_INFO => self.cancel_flight_info(caller, &action.body).await.map(Some),
            RENEW_FLIGHT_ENDPOINT => self.renew_endpoint(caller, &action.body).await.map(Some),
            SET_SESSION_OPTIONS => self.set_session_options(caller, &action.body).await.map(Some),
            GET_SESSION_OPTIONS => self.session_options(caller, &action.body).await.map(Some),
            CLOSE_SESSION => self.close_session(caller, &action.body).await.map(Some),
            other => Err(Error::unsupported(format!("the action {other}"), "")),
        }
    }

    /// Who calls, in a session that is still open.
    fn caller<'a, T>(
        &'a self,
        request: &Request<T>,
    ) -> impl Future<Output = Result<Caller, Status>> + Send + use<'a, T> {
        let caller = self.auth.caller(request);
        let tags = query_tags(request.metadata());
        async move {
            let caller = Caller { tags, ..caller.await? };
            self.sessions.expect_open(&caller).await?;
            Ok(caller)
        }
    }

    /// The session of a prepared statement: the caller's, and where nothing was SET in it, the one that the statement was
    /// prepared in.
    async fn session_of(&self, caller: &Caller, prepared: Option<proto::Session>) -> Session {
        match (self.sessions.known(caller).await, prepared) {
            (Some(session), _) => session,
            (None, Some(prepared)) => prepared.into(),
            (None, None) => self.sessions.fresh(&caller.user),
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
        let caller = self.caller(&request).await?;
        let side_by_side = fetches_side_by_side(request.metadata());
        let descriptor = request.into_inner();
        let mut offer = self.offer_rows(&caller, &descriptor).await.map_err(refuse)?;
        offer = self.in_parts(&caller, offer, side_by_side).await.map_err(refuse)?;
        Ok(Response::new(offer.into_info(descriptor).map_err(refuse)?))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        let caller = self.caller(&request).await?;
        let schema = self.schema(&caller, request.get_ref()).await.map_err(refuse)?;
        Ok(Response::new(SchemaResult {
            schema: schema::encode(&schema)?,
        }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let caller = self.caller(&request).await?;
        let rows = self.fetch(&caller, request.get_ref()).await.map_err(refuse)?;
        Ok(Response::new(rows))
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Result<Response<Self::DoPutStream>, Status> {
        let caller = self.caller(&request).await?;
        let app_metadata = self.put(&caller, request.into_inner()).await.map_err(refuse)?;
        Ok(Response::new(Box::pin(streams::iter([Ok(PutResult { app_metadata })]))))
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        let caller = self.caller(&request).await?;
        let answer = self.act(&caller, request.get_ref()).await.map_err(refuse)?;
        let results = answer.map(|body| Ok(arrow_flight::Result { body }));
        Ok(Response::new(Box::pin(streams::iter(results))))
    }

    async fn list_actions(&self, request: Request<Empty>) -> Result<Response<Self::ListActionsStream>, Status> {
        self.caller(&request).await?;
        let actions = ACTIONS.map(|(name, about)| {
            Ok(ActionType {
                r#type: name.to_owned(),
                description: about.to_owned(),
            })
        });
        Ok(Response::new(Box::pin(streams::iter(actions))))
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        let caller = self.caller(&request).await?;
        let info = self.poll(&caller, request.into_inner()).await.map_err(refuse)?;
        Ok(Response::new(info))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Result<Response<Self::ListFlightsStream>, Status> {
        Err(Error::unsupported("ListFlights", ": ask for tables with CommandGetTables").into())
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(Error::unsupported("DoExchange", "").into())
    }
}

/// Where a client gets its rows: from whom it asks now. The addresses of servers may mean nothing where it is.
fn reuse_connection() -> Location {
    Location {
        uri: "arrow-flight-reuse-connection://?".to_owned(),
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

/// The encoded plan in a message.
fn substrait_plan(message: Option<SubstraitPlan>) -> Result<Bytes> {
    let plan = message.map(|message| message.plan).filter(|plan| !plan.is_empty());
    plan.ok_or_else(|| Error::request("there is no Substrait plan in the message"))
}

/// No plan that this server reads changes anything.
fn refuse_substrait_update() -> Error {
    Error::unsupported(
        "a Substrait plan as an update",
        ": run it as a query, or write with SQL",
    )
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
