//! Rows that clients fetch from executors: each ticket is offered to one, and whoever shows it there gets its rows by a
//! query that is run here like any other. A client that cannot reach the executor, or comes late, fetches them here.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use executor::{Delivery, Door, Fetch};
use futures::StreamExt;
use futures::future::join_all;
use proto::StatementTicket;
use tokio::task::JoinSet;
use tonic::Status;
use tracing::{Instrument, Span, debug};

use super::super::{Flight, refuse, schema};
use super::{Offer, request};
use crate::auth::Caller;
use crate::error::Result;
use crate::query::{Origin, Queries};
use crate::session::{Session, Sessions};

/// Offers that are open at once: the rows of others come through the server.
pub(in crate::flight) const OFFERS_MAX: usize = 4096;
/// An offer that nobody has taken for so long is withdrawn.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Clients that fetch for one ticket at once.
const FETCHES_MAX: usize = 4;

/// A ticket that is good for its rows, with all that running it takes.
struct Directly {
    queries: Queries,
    sessions: Arc<Sessions>,
    caller: Caller,
    ticket: StatementTicket,
    session: Session,
    /// The columns that the client was told of.
    schema: Bytes,
}

impl Flight {
    /// The executors that the client of a ticket may be sent to.
    pub(super) fn doors(&self, caller: &Caller, origin: &Origin, ticket: &StatementTicket) -> Result<Vec<Door>> {
        let session = Session::from(ticket.session.clone().unwrap_or_default());
        let settings = &session.settings;
        match settings.direct_results() {
            true => (self.queries).doors(&caller.user, origin, settings.executor_set(), self.encrypted),
            false => Ok(Vec::new()),
        }
    }

    /// Offers each part to one of `doors`, the same one whenever the same statement comes again.
    pub(super) async fn offer_directly(
        &self,
        caller: &Caller,
        doors: &[Door],
        (offer, tickets): (&mut Offer, Vec<StatementTicket>),
    ) -> Result<()> {
        let told = schema::encode(&offer.schema)?;
        let mut hasher = DefaultHasher::new();
        offer.ticket.as_ref().map(|ticket| &ticket.sql).hash(&mut hasher);
        let first = usize::try_from(hasher.finish() % doors.len() as u64).unwrap_or(0);
        let parts = offer.parts.iter_mut().zip(tickets).enumerate();
        let offered = parts.map(|(number, (part, ticket))| {
            let door = &doors[(first + number) % doors.len()];
            let directly = Directly {
                queries: self.queries.clone(),
                sessions: Arc::clone(&self.sessions),
                caller: caller.clone(),
                session: Session::from(ticket.session.clone().unwrap_or_default()),
                ticket,
                schema: told.clone(),
            };
            async move {
                if self.offer_part(directly, door, &part.ticket).await {
                    part.executor = Some(door.uri().to_owned());
                }
            }
        });
        join_all(offered).await;
        Ok(())
    }

    /// Whether the executor gives the rows too.
    async fn offer_part(&self, directly: Directly, door: &Door, ticket: &[u8]) -> bool {
        let Ok(place) = Arc::clone(&self.offers).try_acquire_owned() else {
            return false;
        };
        let offer = match door.offer(ticket).await {
            Ok(offer) => offer,
            Err(error) => {
                debug!(%error, "a result is not offered to an executor");
                return false;
            }
        };
        let stop = self.tasks.stop();
        // What is logged of the query names who asked for it.
        let call = Span::current();
        let offered = async move {
            let _place = place;
            let directly = Arc::new(directly);
            let mut offer = offer;
            let mut fetches = JoinSet::new();
            loop {
                let idle = fetches.is_empty();
                tokio::select! {
                    asked = offer.asked(), if fetches.len() < FETCHES_MAX => match asked {
                        Some(fetch) => {
                            let directly = Arc::clone(&directly);
                            let call = Span::current();
                            fetches.spawn(async move { directly.hand_out(fetch).await }.instrument(call));
                        }
                        None => break,
                    },
                    Some(_) = fetches.join_next(), if !idle => {}
                    () = tokio::time::sleep(IDLE_MAX), if idle => break,
                    () = stop.cancelled(), if idle => break,
                }
            }
            // An executor that takes no more clients brings those it has to their end.
            while fetches.join_next().await.is_some() {}
        };
        self.tasks.spawn(offered.instrument(call));
        true
    }
}

impl Directly {
    /// Runs the query for a client that has come to the executor.
    async fn hand_out(&self, mut fetch: Fetch) {
        let left = fetch.left();
        let status = match self.run(&mut fetch).await {
            Err(status) => Some(status),
            Ok(mut running) => loop {
                tokio::select! {
                    biased;
                    // Dropping the query says that it was cancelled.
                    () = left.cancelled() => break None,
                    rows = running.next() => match rows {
                        Some(Ok(_)) => {}
                        Some(Err(error)) => break Some(refuse(error.into())),
                        None => break None,
                    },
                }
            },
        };
        fetch.end(status.as_ref()).await;
    }

    async fn run(&self, fetch: &mut Fetch) -> Result<datafusion::execution::SendableRecordBatchStream, Status> {
        let mut delivery = Delivery {
            fetch,
            schema: self.schema.clone(),
            compression: self.session.settings.result_compression(),
        };
        self.sessions.expect_open(&self.caller).await.map_err(refuse)?;
        let request = request(&self.caller, &self.ticket).map_err(refuse)?;
        let running = self.queries.run(&self.session, request, Some(&mut delivery)).await;
        Ok(running.map_err(refuse)?.stream)
    }
}
