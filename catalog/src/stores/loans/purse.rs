//! The loan of one prefix, and how it is replaced in time.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::{Lender, Loan, Loans};
use crate::error::{Error, Result};

/// A loan is renewed when less than this part of its life is left, and less than [`MARGIN_MAX`].
const MARGIN_PART: u32 = 6;
const MARGIN_MAX: Duration = Duration::from_secs(5 * 60);
/// A lender that failed is not asked again sooner.
const RETRY: Duration = Duration::from_secs(1);
/// How long a lender may take.
const LENDER_WAIT: Duration = Duration::from_secs(30);
/// How long a request waits for its server to tell of a new loan in the place of one that ended.
const NEWS_WAIT: Duration = Duration::from_secs(10);

/// Where the loans of one table are renewed, one at a time.
#[derive(Debug)]
pub(in crate::stores) struct Desk {
    pub(super) lender: Arc<dyn Lender>,
    pub(super) loans: Weak<Loans>,
    /// When the lender failed last.
    pub(super) turn: Mutex<Option<Instant>>,
}

/// The loan of one prefix, as it is now.
#[derive(Debug)]
pub(super) struct Purse {
    pub(super) id: u64,
    pub(super) prefix: String,
    pub(super) held: watch::Sender<Held>,
    /// How many [`LoansInUse`] hold it.
    pub(super) users: AtomicUsize,
    pub(super) desk: RwLock<Option<Arc<Desk>>>,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) loan: Loan,
    credential: Arc<AwsCredential>,
    pub(super) version: u64,
    since: SystemTime,
}

impl Held {
    pub(super) fn new(loan: Loan, version: u64, since: SystemTime) -> Self {
        Self {
            credential: Arc::new(loan.credential()),
            loan,
            version,
            since,
        }
    }

    /// What is left of its life, and how long that is in all. Those that never end are always new.
    fn left(&self, now: SystemTime) -> Option<(Duration, Duration)> {
        let end = self.loan.expires?;
        let life = end.duration_since(self.since).unwrap_or_default();
        Some((end.duration_since(now).unwrap_or_default(), life))
    }

    fn is_valid(&self, now: SystemTime) -> bool {
        self.left(now).is_none_or(|(left, _)| !left.is_zero())
    }

    fn is_fresh(&self, now: SystemTime) -> bool {
        self.left(now)
            .is_none_or(|(left, life)| left > (life / MARGIN_PART).min(MARGIN_MAX))
    }
}

impl Purse {
    /// Whether `loan` can take the place of the one that is here.
    pub(super) fn takes(&self, loan: &Loan) -> bool {
        self.held.borrow().loan.place() == loan.place()
    }

    /// Where it is renewed; nowhere on executors.
    fn desk(&self) -> Option<Arc<Desk>> {
        self.desk.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Who renews it.
    pub(super) fn lender(&self) -> Option<String> {
        self.desk().map(|desk| desk.lender.id().to_owned())
    }

    /// Whether it has ended and nobody told of another in time. Where it can be renewed that is tried instead.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        let end = self.held.borrow().loan.expires;
        self.desk().is_none() && end.is_some_and(|end| end + NEWS_WAIT < now)
    }

    /// Is renewed at `desk` from now on, unless that is another desk of the same lender.
    pub(super) fn turn_to(&self, desk: &Arc<Desk>) {
        let mut own = self.desk.write().unwrap_or_else(PoisonError::into_inner);
        if own.as_ref().is_none_or(|own| own.lender.id() != desk.lender.id()) {
            *own = Some(Arc::clone(desk));
        }
    }

    pub(super) fn fill(&self, loan: Loan, now: SystemTime) {
        debug!(prefix = self.prefix, "new credentials were lent");
        self.held
            .send_modify(|held| *held = Held::new(loan, held.version + 1, now));
    }

    /// Whether a new loan can wait. One without an end may have been taken back.
    pub(super) fn is_young(&self, now: SystemTime) -> bool {
        let held = self.held.borrow();
        held.left(now).is_some_and(|(left, life)| left > life / 2)
    }

    /// How long a request waits for a loan in the place of one that has ended: where it can be renewed it was tried.
    fn news_wait(&self) -> Duration {
        match self.desk() {
            Some(_) => Duration::ZERO,
            None => NEWS_WAIT,
        }
    }

    /// Borrows anew if it is time.
    pub(super) async fn renewed(&self) -> Result<()> {
        if self.held.borrow().is_fresh(SystemTime::now()) {
            return Ok(());
        }
        let Some(desk) = self.desk() else {
            return Ok(());
        };
        let mut failed = desk.turn.lock().await;
        let (fresh, valid) = {
            let (held, now) = (self.held.borrow(), SystemTime::now());
            (held.is_fresh(now), held.is_valid(now))
        };
        if fresh || valid && failed.is_some_and(|at| at.elapsed() < RETRY) {
            return Ok(());
        }
        let lent = match tokio::time::timeout(LENDER_WAIT, desk.lender.lend()).await {
            Ok(lent) => lent,
            Err(_) => Err(Error::CatalogUnavailable {
                catalog: self.prefix.clone(),
                detail: format!("no new credentials within {LENDER_WAIT:?}"),
                source: None,
            }),
        };
        let Some(book) = desk.loans.upgrade() else {
            return Ok(());
        };
        let kept = lent.and_then(|loans| loans.into_iter().try_for_each(|loan| book.keep(loan, Some(&desk))));
        *failed = kept.is_err().then(Instant::now);
        // Nothing is lent for it any more, or its table is gone: whatever else reaches it may be tried.
        let gone = matches!(kept, Ok(()) | Err(Error::NotFound { .. }));
        if gone && !self.held.borrow().is_valid(SystemTime::now()) {
            book.forget(self);
        }
        match kept {
            Err(error) if valid => {
                warn!(prefix = self.prefix, %error, "borrowed credentials are not renewed yet");
                Ok(())
            }
            kept => kept,
        }
    }
}

#[async_trait]
impl CredentialProvider for Purse {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| object_store::Error::Unauthenticated {
            path: self.prefix.clone(),
            source,
        };
        self.renewed().await.map_err(|error| failed(Box::new(error)))?;
        let mut held = self.held.subscribe();
        let valid = held.wait_for(|held| held.is_valid(SystemTime::now()));
        match tokio::time::timeout(self.news_wait(), valid).await {
            Ok(Ok(held)) => Ok(Arc::clone(&held.credential)),
            _ => Err(failed(
                "the credentials that the catalog lent have ended, and there are no new ones".into(),
            )),
        }
    }
}
