//! Statements: planned when a client asks what they give, run when it fetches the rows. A statement that changes the
//! session runs at once, since some clients never fetch.

use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{Any, ProstMessageExt, TicketStatementQuery};
use bytes::Bytes;
use prost::Message;
use proto::StatementTicket;

use super::stream::{self, FlightStream};
use super::{Flight, parameters, schema};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::session::Session;

/// The rows a client may fetch: their columns and the ticket for them.
pub(super) struct Offer {
    pub(super) schema: SchemaRef,
    pub(super) ticket: Bytes,
}

impl Flight {
    /// The columns of a statement with its packed parameters. Runs nothing.
    pub(super) async fn statement_schema(&self, caller: &Caller, sql: &str, packed: &[u8]) -> Result<SchemaRef> {
        let session = self.sessions.of(caller).await;
        let columns = self.queries.schema(&session, sql, parameters::values(packed)?).await?;
        Ok(schema::of_result(&columns))
    }

    /// Plans a query and offers its rows; runs a command and offers none.
    pub(super) async fn offer_statement(&self, caller: &Caller, sql: String, packed: Vec<u8>) -> Result<Offer> {
        if self.change_session(caller, &sql).await? {
            return Ok(self.offer(caller, SchemaRef::new(Schema::empty()), StatementTicket::default()));
        }
        let session = self.sessions.of(caller).await;
        let columns = self
            .queries
            .schema(&session, &sql, parameters::values(&packed)?)
            .await?;
        let ticket = StatementTicket {
            sql,
            session: Some(session.into()),
            parameters: packed,
        };
        Ok(self.offer(caller, schema::of_result(&columns), ticket))
    }

    /// Runs the query of a ticket.
    pub(super) async fn fetch_statement(&self, caller: &Caller, ticket: &TicketStatementQuery) -> Result<FlightStream> {
        let StatementTicket {
            sql,
            session,
            parameters,
        } = self.handles.open_statement(&ticket.statement_handle, caller)?;
        if sql.is_empty() {
            return Ok(stream::of_batch(arrow::array::RecordBatch::new_empty(SchemaRef::new(
                Schema::empty(),
            ))));
        }
        let session = Session::from(session.unwrap_or_default());
        let running = self
            .queries
            .run(&session, &sql, parameters::values(&parameters)?)
            .await?;
        Ok(stream::of_query(running.stream, schema::of_result(&running.schema)))
    }

    /// Runs a statement that changes something, and says how many rows it changed.
    pub(super) async fn update(&self, caller: &Caller, sql: &str) -> Result<i64> {
        match self.change_session(caller, sql).await? {
            true => Ok(0),
            false => Err(Error::statement(
                "this statement gives rows: run it as a query, not as an update",
            )),
        }
    }

    /// Runs `sql` if it is a command on the session; false when it is a query, which is left alone.
    async fn change_session(&self, caller: &Caller, sql: &str) -> Result<bool> {
        let session = self.sessions.of(caller).await;
        let fresh = self.sessions.fresh(&caller.user);
        let Some(changed) = self.queries.command(&session, &fresh, sql).await? else {
            return Ok(false);
        };
        self.sessions.keep(caller, changed).await?;
        Ok(true)
    }

    /// A ticket without SQL is one whose statement has run already.
    fn offer(&self, caller: &Caller, schema: SchemaRef, mut ticket: StatementTicket) -> Offer {
        ticket
            .session
            .get_or_insert_with(|| self.sessions.fresh(&caller.user).into());
        let statement_handle = self.handles.seal_statement(&ticket);
        let packed: Any = TicketStatementQuery { statement_handle }.as_any();
        Offer {
            schema,
            ticket: packed.encode_to_vec().into(),
        }
    }
}
