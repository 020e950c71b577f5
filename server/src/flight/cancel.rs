//! CancelFlightInfo, the older CancelQuery, and RenewFlightEndpoint: what clients do about queries and results that
//! they were told of. A query is found by its tickets or by the id in the info, since some clients keep only one; one
//! that is not known here may run on another server.

use arrow_flight::sql::{ActionCancelQueryRequest, ActionCancelQueryResult, Any, Command, ProstMessageExt};
use arrow_flight::{
    CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightEndpoint, FlightInfo,
    RenewFlightEndpointRequest, Ticket,
};
use bytes::Bytes;
use futures::future::try_join_all;
use prost::Message;
use uuid::Uuid;

use super::ticket::Redeemable;
use super::{Flight, command, poll, session};
use crate::auth::Caller;
use crate::error::{Error, Result};

/// Queries of one info that other servers are asked about. An info is about one query; two where its id is not that of
/// its tickets.
const ELSEWHERE_MAX: usize = 2;

impl Flight {
    /// The message is bare.
    pub(super) async fn cancel_flight_info(&self, caller: &Caller, body: &[u8]) -> Result<Bytes> {
        let request: CancelFlightInfoRequest = session::decode(body, "CancelFlightInfoRequest")?;
        let info = request
            .info
            .ok_or_else(|| Error::request("there is no info to cancel"))?;
        let status = self.cancel(caller, &info).await?;
        Ok(CancelFlightInfoResult::new(status).encode_to_vec().into())
    }

    /// The message is packed, and so is the answer.
    pub(super) async fn cancel_query(&self, caller: &Caller, request: ActionCancelQueryRequest) -> Result<Bytes> {
        let info: FlightInfo = session::decode(&request.info, "FlightInfo")?;
        // The numbers of both enumerations agree.
        let result = self.cancel(caller, &info).await?.into();
        let answer: Any = ActionCancelQueryResult { result }.as_any();
        Ok(answer.encode_to_vec().into())
    }

    async fn cancel(&self, caller: &Caller, info: &FlightInfo) -> Result<CancelStatus> {
        let mut ids = Vec::new();
        for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
            ids.extend(self.query_of(caller, ticket).await?);
        }
        ids.extend(
            std::str::from_utf8(&info.app_metadata)
                .ok()
                .and_then(|id| id.parse::<Uuid>().ok()),
        );
        ids.sort_unstable();
        ids.dedup();
        let mut found = None;
        let mut unknown = Vec::new();
        for id in ids {
            if self.queries.cancel(id, &caller.user).await {
                found = Some(CancelStatus::Cancelled);
            } else if let Some(status) = self.cancel_stored(caller, id).await? {
                found = found.or(Some(status));
            } else if unknown.len() < ELSEWHERE_MAX {
                unknown.push(id);
            }
        }
        if found.is_none() {
            let asked = unknown
                .into_iter()
                .map(|id| self.queries.cancel_elsewhere(id, &caller.user));
            if try_join_all(asked).await?.contains(&true) {
                found = Some(CancelStatus::Cancelled);
            }
        }
        found.ok_or(Error::Closed { what: "query" })
    }

    /// Ends a query elsewhere whose result is stored, or drops the result that is complete.
    async fn cancel_stored(&self, caller: &Caller, id: Uuid) -> Result<Option<CancelStatus>> {
        let state = match self.spool.read_state(id).await {
            Ok(state) if state.user == caller.user => state,
            Ok(_) | Err(Error::Closed { .. } | Error::Lost) => return Ok(None),
            Err(error) => return Err(error),
        };
        if state.state() == proto::StoredState::Running {
            self.spool.ask_to_end(id).await?;
            return Ok(Some(CancelStatus::Cancelling));
        }
        self.spool.delete(id).await?;
        Ok(Some(CancelStatus::Cancelled))
    }

    async fn query_of(&self, caller: &Caller, ticket: &Ticket) -> Result<Option<Uuid>> {
        let Command::TicketStatementQuery(ticket) = command(&ticket.ticket)? else {
            return Ok(None);
        };
        let id = match self.redeem(caller, &ticket.statement_handle).await? {
            Redeemable::Statement(ticket) => ticket.query_id,
            Redeemable::Result(ticket) => ticket.query_id,
        };
        Ok(id.parse().ok())
    }

    /// Keeps a stored result longer. The message is bare, and the answer is the endpoint with its new time.
    pub(super) async fn renew_endpoint(&self, caller: &Caller, body: &[u8]) -> Result<Bytes> {
        let request: RenewFlightEndpointRequest = session::decode(body, "RenewFlightEndpointRequest")?;
        let endpoint = request
            .endpoint
            .ok_or_else(|| Error::request("there is no endpoint to renew"))?;
        let ticket = endpoint.ticket.as_ref();
        let ticket = ticket.ok_or_else(|| Error::request("the endpoint has no ticket"))?;
        let id = match command(&ticket.ticket)? {
            Command::TicketStatementQuery(ticket) => match self.redeem(caller, &ticket.statement_handle).await? {
                Redeemable::Result(ticket) => ticket.query_id.parse().ok(),
                Redeemable::Statement(_) => None,
            },
            _ => None,
        };
        let id = id.ok_or_else(|| Error::request("this endpoint does not expire, so it cannot be renewed"))?;
        self.spool.leased(id).await?;
        let until = self.spool.lease(id, self.spool.lifetime()).await?;
        let renewed = FlightEndpoint {
            expiration_time: Some(poll::timestamp(until)),
            ..endpoint
        };
        Ok(renewed.encode_to_vec().into())
    }
}
