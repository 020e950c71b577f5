//! Statements: planned when a client asks what they give, run when it fetches the rows. A statement that changes
//! something runs at once, since some clients never fetch.

mod direct;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{Any, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Location, Ticket};
use bytes::Bytes;
use executor::Part;
use prost::Message;
use proto::StatementTicket;
use tonic::metadata::MetadataMap;
use uuid::Uuid;

use super::stream::{self, FlightStream};
use super::ticket::Redeemable;
use super::{Flight, parameters, reuse_connection, schema};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::query::{Bound, Origin, Outcome, Request, Source};
use crate::session::Session;

pub(super) use direct::OFFERS_MAX;

/// The rows a client may fetch.
pub(super) struct Offer {
    pub(super) schema: SchemaRef,
    /// Whether they come in an order that the statement asked for.
    pub(super) ordered: bool,
    /// What is run for them; nothing where nothing is to run any more.
    pub(super) ticket: Option<StatementTicket>,
    /// What DoGet gives them for, part by part.
    pub(super) parts: Vec<OfferedPart>,
}

/// Rows for a ticket.
pub(super) struct OfferedPart {
    ticket: Bytes,
    /// The executor that gives them too.
    executor: Option<String>,
}

impl Offer {
    /// Rows that are there without a query.
    pub(super) fn of_rows(schema: SchemaRef, redeem: Bytes) -> Self {
        Self {
            schema,
            ordered: false,
            ticket: None,
            parts: vec![OfferedPart::here(redeem)],
        }
    }

    /// As the answer to `descriptor`. It carries the query's id, so that it can be cancelled.
    pub(super) fn into_info(self, descriptor: FlightDescriptor) -> Result<FlightInfo> {
        let endpoint = |part: OfferedPart| FlightEndpoint {
            ticket: Some(Ticket::new(part.ticket)),
            location: (part.executor.map(|uri| Location { uri }).into_iter())
                .chain([reuse_connection()])
                .collect(),
            ..FlightEndpoint::default()
        };
        Ok(FlightInfo {
            schema: schema::encode(&self.schema)?,
            flight_descriptor: Some(descriptor),
            endpoint: self.parts.into_iter().map(endpoint).collect(),
            total_records: -1,
            total_bytes: -1,
            ordered: self.ordered,
            app_metadata: self.ticket.map(|ticket| ticket.query_id).unwrap_or_default().into(),
        })
    }
}

/// What became of a statement that may change something.
enum Answer {
    /// Nothing: it is a query, which is left alone.
    Query,
    /// It changed so many rows.
    Count(i64),
    /// The query tells what it did, to so many files.
    Told(String, i64),
}

impl Flight {
    /// The columns of a statement with its packed parameters. Runs nothing.
    pub(super) async fn statement_schema(
        &self,
        session: &Session,
        source: Source<'_>,
        packed: &[u8],
    ) -> Result<SchemaRef> {
        let columns = self
            .queries
            .schema(session, source, parameters::values(packed)?)
            .await?;
        Ok(schema::of_result(&columns))
    }

    /// Plans a query and offers its rows; runs a command and offers none.
    pub(super) async fn offer_statement(
        &self,
        caller: &Caller,
        session: Session,
        source: Source<'_>,
        packed: Vec<u8>,
    ) -> Result<Offer> {
        let bound = Bound {
            rows: parameters::rows(&packed)?,
        };
        let mut source = source;
        let mut packed = packed;
        let told;
        let answer = match source {
            Source::Sql(sql) => self.command(caller, &session, sql, bound).await?,
            Source::Substrait(_) => Answer::Query,
        };
        if let Answer::Told(query, _) = answer {
            // What was done is told by a query of its own.
            told = query;
            (source, packed) = (Source::Sql(&told), Vec::new());
        } else if let Answer::Count(_) = answer {
            let nothing = StatementTicket {
                session: Some(session.into()),
                ..StatementTicket::default()
            };
            let redeem = self.packed_ticket(&nothing).await?;
            return Ok(Offer::of_rows(SchemaRef::new(Schema::empty()), redeem));
        }
        let planned = self
            .queries
            .offer(&session, source, parameters::values(&packed)?)
            .await?;
        let (sql, substrait_plan) = match source {
            Source::Sql(sql) => (sql.to_owned(), Vec::new()),
            Source::Substrait(plan) => (String::new(), plan.to_vec()),
        };
        let ticket = StatementTicket {
            sql,
            substrait_plan,
            session: Some(session.into()),
            parameters: packed,
            query_id: planned.id.to_string(),
            pins: planned.pins,
            ..StatementTicket::default()
        };
        Ok(Offer {
            schema: schema::of_result(&planned.schema),
            ordered: planned.ordered,
            parts: vec![OfferedPart::here(self.packed_ticket(&ticket).await?)],
            ticket: Some(ticket),
        })
    }

    /// The same rows in several parts, where they are many and the client fetches parts `side_by_side`, and from executors
    /// where its session says that it can.
    pub(super) async fn in_parts(&self, caller: &Caller, mut offer: Offer, side_by_side: bool) -> Result<Offer> {
        let Some(ticket) = &offer.ticket else { return Ok(offer) };
        let origin = origin(caller, ticket)?;
        let doors = self.doors(caller, &origin, ticket)?;
        if !side_by_side && doors.is_empty() {
            return Ok(offer);
        }
        let Some(parts) = self.queries.parts(&caller.user, &origin, doors.len()).await? else {
            return Ok(offer);
        };
        let part_count = if side_by_side { parts } else { 1 };
        let mut tickets = Vec::new();
        for part in 0..part_count {
            tickets.push(StatementTicket {
                part,
                part_count,
                ..ticket.clone()
            });
        }
        offer.parts.clear();
        for ticket in &tickets {
            offer.parts.push(OfferedPart::here(self.packed_ticket(ticket).await?));
        }
        if !doors.is_empty() {
            self.offer_directly(caller, &doors, (&mut offer, tickets)).await?;
        }
        Ok(offer)
    }

    /// The rows of a ticket.
    pub(super) async fn fetch_statement(&self, caller: &Caller, ticket: &TicketStatementQuery) -> Result<FlightStream> {
        let ticket = match self.redeem(caller, &ticket.statement_handle).await? {
            Redeemable::Statement(ticket) => *ticket,
            Redeemable::Result(ticket) => return self.fetch_stored(&ticket).await,
        };
        if ticket.query_id.is_empty() {
            let none = RecordBatch::new_empty(SchemaRef::new(Schema::empty()));
            return Ok(stream::of_batch(none));
        }
        let session = Session::from(ticket.session.clone().unwrap_or_default());
        let running = self.queries.run(&session, request(caller, &ticket)?, None).await?;
        let schema = schema::of_result(&running.schema);
        let compression = session.settings.result_compression();
        stream::of_query(running.stream, schema, compression)
    }

    /// Runs a statement that changes something, and says how many rows it changed.
    pub(super) async fn update(&self, caller: &Caller, session: &Session, sql: &str, bound: Bound) -> Result<i64> {
        match self.command(caller, session, sql, bound).await? {
            Answer::Count(count) | Answer::Told(_, count) => Ok(count),
            Answer::Query => Err(Error::statement(
                "this statement gives rows: run it as a query, not as an update",
            )),
        }
    }

    /// Runs `sql` if it changes something.
    async fn command(&self, caller: &Caller, session: &Session, sql: &str, bound: Bound) -> Result<Answer> {
        let fresh = self.sessions.fresh(&caller.user);
        let origin = Origin {
            id: Uuid::now_v7(),
            session_id: caller.session_id.clone(),
            tags: caller.tags.clone(),
        };
        match self.queries.command(session, &fresh, origin, (sql, bound)).await? {
            Outcome::Query => Ok(Answer::Query),
            Outcome::Done => Ok(Answer::Count(0)),
            Outcome::Written(rows) => Ok(Answer::Count(rows)),
            Outcome::Told(told, files) => Ok(Answer::Told(told, files)),
            Outcome::Changed(changed, rows) => {
                self.sessions.keep(caller, changed).await?;
                Ok(Answer::Count(rows))
            }
        }
    }

    /// A ticket as it travels. One that names no query is that of a statement that has run already.
    async fn packed_ticket(&self, ticket: &StatementTicket) -> Result<Bytes> {
        let statement_handle = self.handles.seal_statement(ticket, &self.spool).await?;
        let packed: Any = TicketStatementQuery { statement_handle }.as_any();
        Ok(packed.encode_to_vec().into())
    }

    /// What a ticket stands for.
    pub(super) async fn redeem(&self, caller: &Caller, handle: &[u8]) -> Result<Redeemable> {
        self.handles.open_ticket(handle, caller, &self.spool).await
    }
}

impl OfferedPart {
    fn here(ticket: Bytes) -> Self {
        Self { ticket, executor: None }
    }
}

/// What a ticket asks to run.
fn request<'a>(caller: &Caller, ticket: &'a StatementTicket) -> Result<Request<'a>> {
    let part = Part {
        index: ticket.part,
        count: ticket.part_count,
    };
    Ok(Request {
        origin: origin(caller, ticket)?,
        source: Source::of(&ticket.sql, &ticket.substrait_plan),
        parameters: parameters::values(&ticket.parameters)?,
        pins: &ticket.pins,
        part: (part.count > 0).then_some(part),
    })
}

/// What the query of a ticket is known by.
pub(super) fn origin(caller: &Caller, ticket: &StatementTicket) -> Result<Origin> {
    let id = ticket.query_id.parse();
    Ok(Origin {
        id: id.map_err(|_| Error::request("the ticket names no query"))?,
        session_id: caller.session_id.clone(),
        tags: caller.tags.clone(),
    })
}

/// Whether a client gains by several streams. The JDBC driver, the one of Java, opens all of them before it reads the first,
/// and reads one after the other.
pub(super) fn fetches_side_by_side(headers: &MetadataMap) -> bool {
    let agent = headers.get("user-agent").and_then(|agent| agent.to_str().ok());
    !agent.is_some_and(|agent| agent.contains("grpc-java"))
}
