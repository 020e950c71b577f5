//! The executors that were started by this server or for it: where they are, what they are up to, and why there are not
//! more. Written by whoever starts them, read by the scaler and by those who wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use url::Url;

/// After a failed start none is tried for so long; twice as long after every further one.
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Addresses with the sets they belong to.
pub(crate) type Placed = Vec<(Url, Arc<str>)>;

/// All executors that were started.
#[derive(Debug)]
pub(crate) struct Fleet {
    state: Mutex<State>,
    changed: Notify,
    placed: watch::Sender<Placed>,
}

#[derive(Debug, Default)]
struct State {
    executors: BTreeMap<String, Started>,
    /// By set, how starting fails.
    trouble: HashMap<Arc<str>, Trouble>,
    /// By set, why the last decision was as it was.
    reasons: HashMap<Arc<str>, String>,
    /// By set, what was done so far.
    counts: HashMap<Arc<str>, Counts>,
}

/// What was done for one set since this server began.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    /// How many would suffice for all that is asked, at the last decision.
    pub(crate) wanted: usize,
    /// Executors that were started.
    pub(crate) started: u64,
    /// Starts that failed, and executors that ended by themselves.
    pub(crate) failed: u64,
    /// Seconds that its executors were there, each for itself; as of the last decision.
    pub(crate) seconds: f64,
    decided: Option<Instant>,
}

/// One that was started.
#[derive(Debug, Clone)]
pub(crate) struct Started {
    pub(crate) set: Arc<str>,
    /// Where it listens, once that is known.
    pub(crate) address: Option<Url>,
    /// It was told to end.
    pub(crate) leaving: bool,
    /// When it became as it is.
    pub(crate) since: SystemTime,
    /// Why it is as it is, in plain words.
    pub(crate) reason: String,
}

#[derive(Debug)]
struct Trouble {
    failures: u32,
    until: Instant,
    why: String,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            placed: watch::Sender::new(Vec::new()),
        }
    }
}

impl Fleet {
    /// `name` of `set` is started, for a reason.
    pub(crate) fn started(&self, name: &str, set: &Arc<str>, reason: &str) {
        self.state().counts.entry(Arc::clone(set)).or_default().started += 1;
        self.comes(name, set, reason);
    }

    /// `name` of `set` is on its way, whoever started it.
    pub(crate) fn comes(&self, name: &str, set: &Arc<str>, reason: &str) {
        let started = Started {
            set: Arc::clone(set),
            address: None,
            leaving: false,
            since: SystemTime::now(),
            reason: reason.to_owned(),
        };
        self.state().executors.insert(name.to_owned(), started);
        self.changed.notify_one();
    }

    /// `name` listens at `address`. What failed before in its set is forgotten.
    pub(crate) fn listens(&self, name: &str, address: Url) {
        {
            let mut state = self.state();
            let Some(started) = state.executors.get_mut(name) else {
                return;
            };
            if started.address.as_ref() == Some(&address) {
                return;
            }
            (started.address, started.since) = (Some(address), SystemTime::now());
            let set = Arc::clone(&started.set);
            state.trouble.remove(&set);
        }
        self.publish();
    }

    /// Why `name` is as it is.
    pub(crate) fn explain(&self, name: &str, why: &str) {
        if let Some(started) = self.state().executors.get_mut(name) {
            why.clone_into(&mut started.reason);
        }
    }

    /// `name` was told to end.
    pub(crate) fn leaves(&self, name: &str, reason: &str) {
        if let Some(started) = self.state().executors.get_mut(name)
            && !started.leaving
        {
            started.leaving = true;
            started.since = SystemTime::now();
            reason.clone_into(&mut started.reason);
        }
        self.changed.notify_one();
    }

    /// `name` has ended.
    pub(crate) fn ended(&self, name: &str) {
        self.state().executors.remove(name);
        self.publish();
    }

    /// Starting one of `set` failed: none is tried for a while, the longer the more often it failed.
    pub(crate) fn failed(&self, set: &Arc<str>, why: &str) {
        {
            let mut state = self.state();
            state.counts.entry(Arc::clone(set)).or_default().failed += 1;
            let failures = state.trouble.get(set).map_or(0, |trouble| trouble.failures);
            let backoff = BACKOFF.saturating_mul(1 << failures.min(16)).min(BACKOFF_MAX);
            let trouble = Trouble {
                failures: failures + 1,
                until: Instant::now() + backoff,
                why: why.to_owned(),
            };
            state.trouble.insert(Arc::clone(set), trouble);
        }
        self.changed.notify_one();
    }

    /// Why none of `set` can be started, and until when.
    pub(crate) fn blocked(&self, set: &str) -> Option<(Instant, String)> {
        let state = self.state();
        let trouble = state.trouble.get(set)?;
        Some((trouble.until, trouble.why.clone()))
    }

    /// Keeps why the last decision about `set` was as it was; true where that is news.
    pub(crate) fn decided(&self, set: &Arc<str>, reason: String) -> bool {
        let before = self.state().reasons.insert(Arc::clone(set), reason.clone());
        before != Some(reason)
    }

    /// A decision about `set` found `present` executors where `wanted` would suffice. Each of them has cost something since
    /// the decision before.
    pub(crate) fn counted(&self, set: &Arc<str>, present: usize, wanted: usize) {
        let now = Instant::now();
        let mut state = self.state();
        let counts = state.counts.entry(Arc::clone(set)).or_default();
        let since = counts.decided.replace(now).unwrap_or(now);
        counts.seconds += now.duration_since(since).as_secs_f64() * present as f64;
        counts.wanted = wanted;
    }

    /// Nobody decides here for now: what the executors of `set` cost until the next decision is not counted.
    pub(crate) fn uncounted(&self, set: &Arc<str>) {
        if let Some(counts) = self.state().counts.get_mut(set) {
            counts.decided = None;
        }
    }

    /// What was done for `set`.
    pub(crate) fn counts(&self, set: &str) -> Counts {
        self.state().counts.get(set).cloned().unwrap_or_default()
    }

    /// Why there is no executor of `set`, as well as that is known.
    pub(crate) fn why_none(&self, set: &str) -> String {
        let state = self.state();
        if let Some(trouble) = state.trouble.get(set) {
            return trouble.why.clone();
        }
        let own = |started: &&Started| *started.set == *set && !started.leaving;
        let waiting = state
            .executors
            .values()
            .filter(own)
            .map(|started| started.reason.clone());
        let decided = || state.reasons.get(set).cloned();
        waiting
            .max_by_key(String::len)
            .or_else(decided)
            .unwrap_or_else(|| "none was started yet".to_owned())
    }

    /// All of them, by name.
    pub(crate) fn all(&self) -> BTreeMap<String, Started> {
        self.state().executors.clone()
    }

    /// Where they listen, now and from now on.
    pub(crate) fn placed(&self) -> watch::Receiver<Placed> {
        self.placed.subscribe()
    }

    /// Waits until something has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    fn publish(&self) {
        let placed: Placed = {
            let state = self.state();
            let listening = state.executors.values();
            listening
                .filter_map(|started| Some((started.address.clone()?, Arc::clone(&started.set))))
                .collect()
        };
        self.placed.send_replace(placed);
        self.changed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_placed() {
        let (fleet, set) = (Fleet::default(), Arc::from("spot"));
        let placed = fleet.placed();
        fleet.started("a", &set, "a query waits");
        assert!(placed.borrow().is_empty());
        let address = Url::parse("http://127.0.0.1:1").unwrap();
        fleet.listens("a", address.clone());
        assert_eq!(*placed.borrow(), [(address, Arc::clone(&set))]);
        fleet.leaves("a", "it idled");
        assert_eq!(placed.borrow().len(), 1, "its tasks go on");
        fleet.ended("a");
        assert!(placed.borrow().is_empty() && fleet.all().is_empty());
    }

    #[tokio::test]
    async fn what_was_done_is_counted() {
        let (fleet, set) = (Fleet::default(), Arc::from("spot"));
        fleet.started("a", &set, "a query waits");
        fleet.comes("b", &set, "it was there");
        fleet.failed(&set, "exceeded quota");
        fleet.counted(&set, 2, 3);
        tokio::time::sleep(Duration::from_millis(20)).await;
        fleet.counted(&set, 2, 1);
        let counts = fleet.counts("spot");
        assert_eq!((counts.started, counts.failed, counts.wanted), (1, 1, 1));
        assert!((0.04..4.0).contains(&counts.seconds), "{}", counts.seconds);
        assert_eq!(fleet.counts("other").started, 0);
        // Another server decides meanwhile.
        fleet.uncounted(&set);
        tokio::time::sleep(Duration::from_millis(20)).await;
        fleet.counted(&set, 2, 1);
        assert_eq!(fleet.counts("spot").seconds.to_bits(), counts.seconds.to_bits());
    }

    #[test]
    fn failures_are_backed_off_and_told() {
        let (fleet, set) = (Fleet::default(), Arc::from("spot"));
        assert_eq!(fleet.why_none("spot"), "none was started yet");
        let wait = |fleet: &Fleet| fleet.blocked("spot").unwrap().0.duration_since(Instant::now());
        for (round, seconds) in [(1, 1), (2, 2), (3, 4), (20, 60)] {
            while fleet.state().trouble.get("spot").map_or(0, |trouble| trouble.failures) < round {
                fleet.failed(&set, "exceeded quota");
            }
            let expected = Duration::from_secs(seconds);
            assert!(wait(&fleet) <= expected && wait(&fleet) > expected / 2, "{round}");
        }
        assert_eq!(fleet.why_none("spot"), "exceeded quota");
        assert!(fleet.blocked("other").is_none());
        fleet.started("a", &set, "on its way");
        fleet.listens("a", Url::parse("http://127.0.0.1:1").unwrap());
        assert!(fleet.blocked("spot").is_none());
        assert_eq!(fleet.why_none("spot"), "on its way");
    }
}
