//! What coordinators have offered here, by the digest of the ticket, and the clients that wait for an answer.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures::Stream;
use proto::Asked;
use ring::digest;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::results::FlightStream;

/// More offers are refused: the rows come through the server then.
const OFFERS_MAX: usize = 16 * 1024;
/// Calls for one ticket that a coordinator has not heard of yet.
const ASKED_MAX: usize = 16;

/// What a coordinator answers a client's call with.
pub(super) type Answer = Result<FlightStream, Status>;

#[derive(Default)]
pub(super) struct Offers(Mutex<Table>);

#[derive(Default)]
struct Table {
    // Of offers and of calls; 0 is none.
    last: u64,
    closed: bool,
    offers: HashMap<Vec<u8>, Offered>,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
}

struct Offered {
    number: u64,
    asked: mpsc::Sender<Asked>,
}

impl Offers {
    /// Keeps an offer for as long as the answer lives, which first says so and then tells of each call.
    pub(super) fn take(self: &Arc<Self>, ticket_digest: &[u8]) -> Result<Asking, Status> {
        if ticket_digest.len() != digest::SHA256_OUTPUT_LEN {
            return Err(Status::invalid_argument("this is no digest of a ticket"));
        }
        let mut table = self.table();
        if table.closed {
            return Err(Status::aborted(
                "it hands out no more results, since it is about to end",
            ));
        }
        if table.offers.len() >= OFFERS_MAX {
            return Err(Status::resource_exhausted("it has too many offers"));
        }
        let (asked, asking) = mpsc::channel(ASKED_MAX);
        table.last += 1;
        let number = table.last;
        table.offers.insert(ticket_digest.to_vec(), Offered { number, asked });
        Ok(Asking {
            taken: false,
            asking,
            ticket_digest: ticket_digest.to_vec(),
            number,
            offers: Arc::clone(self),
        })
    }

    /// Tells the coordinator that somebody shows `ticket`; none where nobody offers it.
    pub(super) fn ask(self: &Arc<Self>, ticket: &[u8]) -> Option<Waiting> {
        let mut table = self.table();
        table.last += 1;
        let fetch = table.last;
        let offered = table.offers.get(digest::digest(&digest::SHA256, ticket).as_ref())?;
        offered.asked.try_send(Asked { fetch }).ok()?;
        let coordinator = offered.asked.clone();
        let (answer, answered) = oneshot::channel();
        table.waiting.insert(fetch, answer);
        Some(Waiting {
            fetch,
            answered,
            coordinator,
            offers: Arc::clone(self),
        })
    }

    /// The client of a call, once; none where it has left.
    pub(super) fn client(&self, fetch: u64) -> Option<oneshot::Sender<Answer>> {
        self.table().waiting.remove(&fetch)
    }

    /// Drops all offers, and takes no more.
    pub(super) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        table.offers.clear();
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls for one offer.
pub(crate) struct Asking {
    taken: bool,
    asking: mpsc::Receiver<Asked>,
    ticket_digest: Vec<u8>,
    number: u64,
    offers: Arc<Offers>,
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Stream for Asking {
    type Item = Result<Asked, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if !self.taken {
            self.taken = true;
            return Poll::Ready(Some(Ok(Asked::default())));
        }
        self.asking.poll_recv(context).map(|asked| asked.map(Ok))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut table = self.offers.table();
        // Another coordinator may have offered the same meanwhile.
        if table
            .offers
            .get(&self.ticket_digest)
            .is_some_and(|offered| offered.number == self.number)
        {
            table.offers.remove(&self.ticket_digest);
        }
    }
}

/// A client that waits for an answer.
pub(super) struct Waiting {
    fetch: u64,
    answered: oneshot::Receiver<Answer>,
    coordinator: mpsc::Sender<Asked>,
    offers: Arc<Offers>,
}

impl Waiting {
    /// The answer; none where the coordinator went away without one.
    pub(super) async fn answer(mut self) -> Option<Answer> {
        tokio::select! {
            biased;
            answer = &mut self.answered => answer.ok(),
            () = self.coordinator.closed() => None,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.offers.table().waiting.remove(&self.fetch);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn digest_of(ticket: &[u8]) -> Vec<u8> {
        digest::digest(&digest::SHA256, ticket).as_ref().to_vec()
    }

    async fn next(asking: &mut Asking) -> u64 {
        asking.next().await.unwrap().unwrap().fetch
    }

    #[tokio::test]
    async fn a_call_is_answered_once() {
        let offers = Arc::new(Offers::default());
        let mut asking = offers.take(&digest_of(b"ticket")).unwrap();
        assert_eq!(next(&mut asking).await, 0);
        assert!(offers.ask(b"another").is_none());
        let waiting = offers.ask(b"ticket").unwrap();
        let fetch = next(&mut asking).await;
        let client = offers.client(fetch).unwrap();
        assert!(offers.client(fetch).is_none());
        assert!(client.send(Err(Status::cancelled("no"))).is_ok());
        let answer = waiting.answer().await.unwrap();
        assert_eq!(answer.err().unwrap().message(), "no");
    }

    #[tokio::test]
    async fn whoever_leaves_is_forgotten() {
        let offers = Arc::new(Offers::default());
        let mut asking = offers.take(&digest_of(b"ticket")).unwrap();
        assert_eq!(next(&mut asking).await, 0);
        drop(offers.ask(b"ticket").unwrap());
        let fetch = next(&mut asking).await;
        assert!(offers.client(fetch).is_none());
        let waiting = offers.ask(b"ticket").unwrap();
        drop(asking);
        assert!(waiting.answer().await.is_none());
        assert!(offers.ask(b"ticket").is_none());
    }

    #[tokio::test]
    async fn a_newer_offer_outlives_the_older_one_and_closing_ends_all() {
        let offers = Arc::new(Offers::default());
        let older = offers.take(&digest_of(b"ticket")).unwrap();
        let mut newer = offers.take(&digest_of(b"ticket")).unwrap();
        drop(older);
        assert!(offers.ask(b"ticket").is_some());
        offers.close();
        assert_eq!(next(&mut newer).await, 0);
        assert!(next(&mut newer).await > 0);
        assert!(newer.next().await.is_none());
        assert!(offers.take(&digest_of(b"ticket")).is_err());
        assert!(offers.take(b"short").is_err());
    }
}
