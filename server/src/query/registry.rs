//! The queries that run in this process: what they are, how far they are, and the one way to end them early. Bounded.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime};

use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use executor::Progress;
use moka::sync::Cache;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::tally::Tally;
use crate::error::{Error, Result};

/// What a query may be doing.
const STATES: [&str; 4] = ["ending", "planning", "queued", "running"];
/// More queries at once than this are refused: each holds a plan.
const QUERIES_MAX: usize = 10_000;
/// Queries that were cancelled before they ran, above this number, run after all.
const CANCELLED_MAX: u64 = 10_000;
/// So long a query that was cancelled before it ran may not begin.
const CANCELLED_KEPT: Duration = Duration::from_secs(10 * 60);

/// Why a query ended before its last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Its client cancelled it.
    Cancelled,
    /// KILL QUERY named it.
    Killed,
    /// The session it ran in was closed.
    SessionClosed,
    /// It ran longer than `statement_timeout`.
    TimedOut(Duration),
    /// Nobody asked for its stored result any more.
    Abandoned,
    /// The server was told to stop, and it ran on for as long as it might.
    ServerStops,
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Cancelled => f.write_str("the query was cancelled"),
            Ending::Killed => f.write_str("the query was ended by KILL QUERY"),
            Ending::SessionClosed => f.write_str("the query ended with its session"),
            Ending::TimedOut(limit) => write!(
                f,
                "the query ran longer than statement_timeout, {}",
                humantime_serde::re::humantime::format_duration(*limit)
            ),
            Ending::ServerStops => {
                f.write_str("the query ended because its server stops; it can be run again on another one")
            }
            Ending::Abandoned => f.write_str("the query was cancelled, since nobody asked for its result"),
        }
    }
}

/// What a query is known by.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    /// Names the query in logs, tickets and KILL QUERY.
    pub(crate) id: Uuid,
    /// The login it came with.
    pub(crate) session_id: Option<String>,
    /// What its client says it is for.
    pub(crate) tags: Vec<String>,
}

/// All queries of one process. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Registry(Arc<Inner>);

struct Inner {
    next: AtomicU64,
    // One id may run twice: a ticket can be redeemed again.
    running: Mutex<HashMap<u64, Arc<RunningQuery>>>,
    tally: Tally,
    cancelled_early: Cache<(Uuid, String), Ending>,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            running: Mutex::default(),
            tally: Tally::default(),
            cancelled_early: Cache::builder()
                .max_capacity(CANCELLED_MAX)
                .time_to_live(CANCELLED_KEPT)
                .build(),
        }
    }
}

impl Registry {
    /// Enters a query of `user`; it leaves when the answer is dropped.
    pub(crate) fn begin(&self, origin: Origin, user: &str, sql: &str, limit: Option<Duration>) -> Result<Registered> {
        let query = Arc::new(RunningQuery {
            user: user.to_owned(),
            sql: sql.to_owned(),
            began: SystemTime::now(),
            clock: Instant::now(),
            rows: AtomicU64::new(0),
            queue_position: AtomicUsize::new(0),
            streaming: AtomicBool::new(false),
            progress: OnceLock::new(),
            ending: OnceLock::new(),
            ended: CancellationToken::new(),
            body: Mutex::new(None),
            origin,
        });
        if let Some(ending) = self.0.cancelled_early.get(&(query.origin.id, user.to_owned())) {
            return Err(Error::Ended { ending });
        }
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut running = self.running();
            if running.len() >= QUERIES_MAX {
                return Err(Error::Busy { queries: QUERIES_MAX });
            }
            running.insert(number, Arc::clone(&query));
        }
        let timer = limit.map(|limit| {
            let query = Arc::clone(&query);
            SpawnedTask::spawn(async move {
                tokio::time::sleep(limit).await;
                query.end(Ending::TimedOut(limit));
            })
        });
        let registry = self.clone();
        Ok(Registered {
            query,
            registry,
            number,
            outcome: None,
            _timer: timer,
        })
    }

    /// Ends the query `id` of `user`. False where it does not run.
    pub(crate) fn end(&self, id: Uuid, user: &str, ending: &Ending) -> bool {
        let own = self.select(|query| query.origin.id == id && query.user == user);
        own.iter().for_each(|query| query.end(ending.clone()));
        !own.is_empty()
    }

    /// Ends the query `id`, whosever it is. False where it does not run.
    pub(crate) fn end_of_anybody(&self, id: Uuid, ending: &Ending) -> bool {
        let found = self.select(|query| query.origin.id == id);
        found.iter().for_each(|query| query.end(ending.clone()));
        !found.is_empty()
    }

    /// Keeps the query `id` of `user` from beginning.
    pub(crate) fn forbid(&self, id: Uuid, user: &str, ending: Ending) {
        self.0.cancelled_early.insert((id, user.to_owned()), ending);
    }

    /// Ends all queries of a session.
    pub(crate) fn end_session(&self, session_id: &str) {
        for query in self.select(|query| query.origin.session_id.as_deref() == Some(session_id)) {
            query.end(Ending::SessionClosed);
        }
    }

    /// Ends all queries.
    pub(crate) fn end_all(&self, ending: &Ending) {
        for query in self.select(|_| true) {
            query.end(ending.clone());
        }
    }

    /// Whether nothing runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.running().is_empty()
    }

    /// The queries of `user`, oldest first.
    pub(crate) fn of_user(&self, user: &str) -> Vec<Arc<RunningQuery>> {
        let mut own = self.select(|query| query.user == user);
        own.sort_by_key(|query| query.clock);
        own
    }

    /// How many queries there are in each [`RunningQuery::state`].
    pub(crate) fn states(&self) -> BTreeMap<&'static str, usize> {
        let mut states = BTreeMap::from(STATES.map(|state| (state, 0)));
        for query in self.running().values() {
            *states.entry(query.state()).or_default() += 1;
        }
        states
    }

    /// What has become of those that ended.
    pub(crate) fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// All queries, oldest first.
    pub(crate) fn of_everybody(&self) -> Vec<Arc<RunningQuery>> {
        let mut all = self.select(|_| true);
        all.sort_by_key(|query| query.clock);
        all
    }

    fn select(&self, wanted: impl Fn(&RunningQuery) -> bool) -> Vec<Arc<RunningQuery>> {
        let running = self.running();
        running.values().filter(|query| wanted(query)).cloned().collect()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<RunningQuery>>> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run of a query.
pub(crate) struct RunningQuery {
    pub(crate) origin: Origin,
    pub(crate) user: String,
    pub(crate) sql: String,
    pub(crate) began: SystemTime,
    clock: Instant,
    rows: AtomicU64,
    queue_position: AtomicUsize,
    streaming: AtomicBool,
    progress: OnceLock<Progress>,
    ending: OnceLock<Ending>,
    ended: CancellationToken,
    /// The rows to come. Here, and not in the hands of the reader, so that a query can be ended whose reader does not
    /// read.
    body: Mutex<Option<SendableRecordBatchStream>>,
}

impl RunningQuery {
    /// Ends it: its work stops here and on all executors. Only the first ending counts.
    pub(crate) fn end(&self, ending: Ending) {
        self.ending.get_or_init(|| ending);
        self.ended.cancel();
        self.clear();
    }

    /// Why it was ended, if it was.
    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.get()
    }

    /// Cancelled when it is ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Rows that its reader has got.
    pub(crate) fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    /// What it does.
    pub(crate) fn state(&self) -> &'static str {
        match (self.ending(), self.streaming.load(Ordering::Relaxed)) {
            (Some(_), _) => "ending",
            (None, true) => "running",
            (None, false) if self.queue_position() > 0 => "queued",
            (None, false) => "planning",
        }
    }

    /// Its place among those of its group that wait to run, from 1; 0 where it does not wait.
    pub(crate) fn queue_position(&self) -> usize {
        self.queue_position.load(Ordering::Relaxed)
    }

    pub(super) fn set_queue_position(&self, position: usize) {
        self.queue_position.store(position, Ordering::Relaxed);
    }

    /// The finished part of its work, from 0 to 1.
    pub(crate) fn progress(&self) -> f64 {
        self.progress.get().map_or(0.0, Progress::fraction)
    }

    /// Its rows come from `body` now.
    pub(super) fn stream(&self, body: SendableRecordBatchStream, progress: Progress) {
        self.progress.get_or_init(|| progress);
        *self.body.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
        self.streaming.store(true, Ordering::Relaxed);
        if self.ending().is_some() {
            self.clear();
        }
    }

    /// Looks at the body, which is gone where the query was ended.
    pub(super) fn with_body<T>(&self, look: impl FnOnce(&mut SendableRecordBatchStream) -> T) -> Option<T> {
        let answer = self
            .body
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
            .map(look);
        // Whoever ended the query meanwhile found the lock taken.
        if self.ending().is_some() {
            self.clear();
        }
        answer
    }

    pub(super) fn count(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Drops the body, unless somebody looks at it: they drop it afterwards.
    fn clear(&self) {
        let mut body = match self.body.try_lock() {
            Ok(body) => body,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let body = body.take();
        // Dropped without the lock.
        drop(body);
    }
}

/// A query in its registry, for as long as this lives.
pub(crate) struct Registered {
    query: Arc<RunningQuery>,
    registry: Registry,
    number: u64,
    outcome: Option<&'static str>,
    _timer: Option<SpawnedTask<()>>,
}

impl std::ops::Deref for Registered {
    type Target = RunningQuery;

    fn deref(&self) -> &RunningQuery {
        &self.query
    }
}

impl Registered {
    /// The query, for those who outlive its run.
    pub(crate) fn share(&self) -> Arc<RunningQuery> {
        Arc::clone(&self.query)
    }

    /// How it came out, for those who count. Where nobody says so, it has failed or was ended.
    pub(super) fn came_out(&mut self, outcome: &'static str) {
        self.outcome = Some(outcome);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let query = &self.query;
        let seconds = query.elapsed().as_secs_f64();
        self.registry
            .0
            .tally
            .count(self.outcome, query.ending(), query.rows(), seconds);
        self.registry.running().remove(&self.number);
        let body = self.query.body.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(body);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proto::ErrorKind;

    use super::*;

    fn origin(session: &str) -> Origin {
        Origin {
            id: Uuid::now_v7(),
            session_id: Some(session.to_owned()),
            tags: Vec::new(),
        }
    }

    #[tokio::test]
    async fn only_its_user_ends_a_query() {
        let registry = Registry::default();
        let origin = origin("a");
        let query = registry.begin(origin.clone(), "alice", "SELECT 1", None).unwrap();
        assert!(!registry.end(origin.id, "bob", &Ending::Killed));
        assert_eq!(query.ending(), None);
        assert!(registry.end(origin.id, "alice", &Ending::Killed));
        assert!(registry.end(origin.id, "alice", &Ending::Cancelled));
        assert_eq!((query.ending(), query.state()), (Some(&Ending::Killed), "ending"));
        drop(query);
        assert!(registry.of_user("alice").is_empty());
        assert!(!registry.end(origin.id, "alice", &Ending::Killed));
    }

    #[tokio::test]
    async fn a_query_that_is_cancelled_before_it_begins_does_not_begin() {
        let registry = Registry::default();
        let origin = origin("a");
        registry.forbid(origin.id, "alice", Ending::Cancelled);
        let refused = registry.begin(origin.clone(), "alice", "SELECT 1", None).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::Cancelled);
        assert!(registry.begin(origin, "bob", "SELECT 1", None).is_ok());
    }

    #[tokio::test]
    async fn sessions_and_time_limits_end_queries() {
        let registry = Registry::default();
        let (a, b) = (origin("a"), origin("b"));
        let a = registry.begin(a, "alice", "SELECT 1", None).unwrap();
        let limit = Duration::from_millis(10);
        let b = registry.begin(b, "alice", "SELECT 2", Some(limit)).unwrap();
        registry.end_session("a");
        assert_eq!(a.ending(), Some(&Ending::SessionClosed));
        b.ended().cancelled().await;
        assert_eq!(b.ending(), Some(&Ending::TimedOut(limit)));
    }
}
