//! PollFlightInfo: queries that run while nobody holds a connection. The first call begins the query and returns; each
//! later one waits a moment for news and tells how far it is and which parts of the result can be fetched. What is
//! known about the query is in the spool, so any server can answer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use arrow_flight::sql::{Any, ProstMessageExt, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, PollInfo, Ticket};
use datafusion::error::DataFusionError;
use futures::{StreamExt, TryStreamExt, stream};
use prost::Message;
use prost_types::Timestamp;
use proto::{PollHandle, ResultTicket, StatementTicket, StoredQuery, StoredState};
use uuid::Uuid;

use super::statement::{Offer, origin};
use super::stream::{self as rows, FlightStream};
use super::{Flight, parameters, reuse_connection, schema};
use crate::auth::Caller;
use crate::error::{Error, Result};
use crate::query::{Request, Source, Storing, read_part};
use crate::session::Session;

/// How long a call waits for news.
const NEWS_WAIT: Duration = Duration::from_secs(3);
/// How often it looks.
const NEWS_INTERVAL: Duration = Duration::from_millis(100);
/// Progress below this is no news.
const PROGRESS_STEP: f64 = 0.01;
/// The type under which a handle travels in a descriptor.
const POLL_HANDLE: &str = "type.lakewing.dev/lakewing.v1.PollHandle";

impl Flight {
    pub(super) async fn poll(&self, caller: &Caller, descriptor: FlightDescriptor) -> Result<PollInfo> {
        if let Some(handle) = poll_handle(&descriptor) {
            let handle = self.handles.open_poll(&handle, caller)?;
            return self.poll_again(handle).await;
        }
        let offer = self.offer_rows(caller, &descriptor).await?;
        match offer.ticket.clone() {
            Some(ticket) => self.submit(caller, offer, ticket).await,
            // Nothing is to run: the whole answer is here.
            None => Ok(PollInfo {
                info: Some(offer.into_info(descriptor)?),
                progress: Some(1.0),
                ..PollInfo::default()
            }),
        }
    }

    /// Begins a query that runs by itself.
    async fn submit(&self, caller: &Caller, offer: Offer, ticket: StatementTicket) -> Result<PollInfo> {
        let origin = origin(caller, &ticket)?;
        let id = origin.id;
        let state = StoredQuery {
            user: caller.user.clone(),
            schema: schema::encode(&offer.schema)?.to_vec(),
            ordered: offer.ordered,
            ..StoredQuery::default()
        };
        let columns = Arc::clone(&offer.schema);
        let storing = Storing::begin(Arc::clone(&self.spool), id, state.clone(), columns).await?;
        let values = parameters::values(&ticket.parameters)?;
        let queries = self.queries.clone();
        self.tasks.spawn(async move {
            let session = Session::from(ticket.session.unwrap_or_default());
            let mut next = Some(storing);
            while let Some(storing) = next {
                let request = Request {
                    origin: origin.clone(),
                    source: Source::of(&ticket.sql, &ticket.substrait_plan),
                    parameters: values.clone(),
                    pins: &ticket.pins,
                    part: None,
                };
                next = match queries.run(&session, request, None).await {
                    Ok(running) => {
                        let told = Arc::clone(&offer.schema);
                        let plain = running.stream.map(move |batch| Ok(schema::convert(&batch?, &told)?));
                        storing.store(&running.query, plain).await
                    }
                    Err(error) => {
                        storing.fail(error).await;
                        None
                    }
                };
            }
        });
        let until = SystemTime::now() + self.spool.lifetime();
        let handle = PollHandle {
            user: caller.user.clone(),
            query_id: id.to_string(),
            ..PollHandle::default()
        };
        self.tell(handle, &state, until)
    }

    /// Waits for news of a query. Asking keeps it alive.
    async fn poll_again(&self, handle: PollHandle) -> Result<PollInfo> {
        let id = handle.query_id.parse().map_err(|_| Error::Closed { what: "query" })?;
        self.spool.leased(id).await?;
        let until = self.spool.lease(id, self.spool.lifetime()).await?;
        let began = Instant::now();
        loop {
            let state = self.spool.read_state(id).await?;
            let known = usize::try_from(handle.endpoint_count).unwrap_or(usize::MAX);
            let news = state.endpoint_chunks.len() > known || state.progress >= handle.progress + PROGRESS_STEP;
            match state.state() {
                StoredState::Failed => {
                    return Err(Error::Stored {
                        kind: state.error_kind(),
                        message: state.error_message,
                    });
                }
                StoredState::Running if !news && began.elapsed() < NEWS_WAIT => {
                    tokio::time::sleep(NEWS_INTERVAL).await;
                }
                _ => return self.tell(handle, &state, until),
            }
        }
    }

    fn tell(&self, mut handle: PollHandle, state: &StoredQuery, until: SystemTime) -> Result<PollInfo> {
        let running = state.state() != StoredState::Complete;
        handle.endpoint_count = u32::try_from(state.endpoint_chunks.len()).unwrap_or(u32::MAX);
        handle.progress = handle.progress.max(state.progress);
        let sealed = self.handles.seal_poll(&handle);
        let cmd = Any {
            type_url: POLL_HANDLE.to_owned(),
            value: sealed,
        };
        let descriptor = FlightDescriptor::new_cmd(cmd.encode_to_vec());
        let mut first_chunk = 0;
        let mut endpoint = Vec::new();
        for &chunk_count in &state.endpoint_chunks {
            let ticket = ResultTicket {
                user: handle.user.clone(),
                query_id: handle.query_id.clone(),
                first_chunk,
                chunk_count,
            };
            let statement_handle = self.handles.seal_result(&ticket);
            let packed: Any = TicketStatementQuery { statement_handle }.as_any();
            endpoint.push(FlightEndpoint {
                ticket: Some(Ticket::new(packed.encode_to_vec())),
                location: vec![reuse_connection()],
                expiration_time: Some(timestamp(until)),
                ..FlightEndpoint::default()
            });
            first_chunk += chunk_count;
        }
        let info = FlightInfo {
            schema: state.schema.clone().into(),
            flight_descriptor: Some(descriptor.clone()),
            endpoint,
            total_records: if running { -1 } else { state.rows },
            total_bytes: if running { -1 } else { state.bytes },
            ordered: state.ordered,
            app_metadata: handle.query_id.clone().into(),
        };
        Ok(PollInfo {
            info: Some(info),
            flight_descriptor: running.then_some(descriptor),
            progress: Some(handle.progress),
            expiration_time: Some(timestamp(until)),
        })
    }

    /// The rows of a part of a stored result, as often as the client likes until it expires. Reading keeps it.
    pub(super) async fn fetch_stored(&self, ticket: &ResultTicket) -> Result<FlightStream> {
        let id: Uuid = ticket.query_id.parse().map_err(|_| Error::Closed { what: "result" })?;
        self.spool.leased(id).await?;
        let state = self.spool.read_state(id).await?;
        let schema = schema::decode(&state.schema)?;
        let spool = Arc::clone(&self.spool);
        let numbers = ticket.first_chunk..ticket.first_chunk.saturating_add(ticket.chunk_count);
        let batches = stream::iter(numbers).then(move |number| {
            let spool = Arc::clone(&spool);
            async move {
                spool.lease(id, spool.lifetime()).await.map_err(external)?;
                let part = spool.read_part(id, number).await.map_err(external)?;
                let batches = read_part(&part)?;
                Ok::<_, DataFusionError>(stream::iter(batches.into_iter().map(Ok)))
            }
        });
        Ok(rows::of_batches(batches.try_flatten(), schema))
    }
}

/// A time as Flight writes it.
pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}

/// The handle in a descriptor that an earlier answer gave.
fn poll_handle(descriptor: &FlightDescriptor) -> Option<bytes::Bytes> {
    let any = Any::decode(&*descriptor.cmd).ok()?;
    (any.type_url == POLL_HANDLE).then_some(any.value)
}

fn external(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}
