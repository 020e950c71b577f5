//! What queries want of executors that are not there yet, or not enough. Bounded by the number of queries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use url::Url;

/// The queries of this server that run on executors or wait for some. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queries: Mutex<Queries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queries {
    next: u64,
    wants: HashMap<u64, Want>,
}

#[derive(Debug)]
struct Want {
    set: String,
    tasks: usize,
    /// The executors it runs on; none while it waits.
    runs_on: Option<Vec<Url>>,
}

/// One query's part of the demand, until this is dropped.
#[derive(Debug)]
pub(crate) struct Wanted {
    demand: Demand,
    number: u64,
}

/// What all queries want of one set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Queries that wait for the first executor.
    pub(crate) waiting: usize,
    /// Tasks that would run at once if there were executors enough.
    pub(crate) tasks: usize,
}

impl Demand {
    /// A query wants to run `tasks` at once on executors of `set`, and waits for them.
    pub(crate) fn enter(&self, set: &str, tasks: usize) -> Wanted {
        let number = {
            let mut queries = self.queries();
            queries.next += 1;
            let want = Want {
                set: set.to_owned(),
                tasks,
                runs_on: None,
            };
            let number = queries.next;
            queries.wants.insert(number, want);
            number
        };
        self.0.changed.notify_one();
        Wanted {
            demand: self.clone(),
            number,
        }
    }

    /// What is asked of `set` now.
    pub(crate) fn of(&self, set: &str) -> Asked {
        let queries = self.queries();
        let wants = queries.wants.values().filter(|want| want.set == set);
        wants.fold(Asked::default(), |asked, want| Asked {
            waiting: asked.waiting + usize::from(want.runs_on.is_none()),
            tasks: asked.tasks + want.tasks,
        })
    }

    /// Whether a query of this server runs on the executor at `address`.
    pub(crate) fn uses(&self, address: &Url) -> bool {
        let queries = self.queries();
        let mut running = queries.wants.values().filter_map(|want| want.runs_on.as_ref());
        running.any(|executors| executors.contains(address))
    }

    /// Waits until it has changed since the last call.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn queries(&self) -> MutexGuard<'_, Queries> {
        self.0.queries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted {
    /// The query runs on these executors and waits no longer.
    pub(crate) fn begun(&self, executors: Vec<Url>) {
        if let Some(want) = self.demand.queries().wants.get_mut(&self.number) {
            want.runs_on = Some(executors);
        }
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        self.demand.queries().wants.remove(&self.number);
        self.demand.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_counted_until_it_ends() {
        let demand = Demand::default();
        let check = |set: &str, waiting: usize, tasks: usize| {
            assert_eq!(demand.of(set), Asked { waiting, tasks }, "{set}");
        };
        let (one, two) = (demand.enter("spot", 4), demand.enter("spot", 2));
        let other = demand.enter("safe", 1);
        check("spot", 2, 6);
        check("safe", 1, 1);
        let address = Url::parse("http://127.0.0.1:1").unwrap();
        assert!(!demand.uses(&address));
        one.begun(vec![address.clone()]);
        assert!(demand.uses(&address));
        check("spot", 1, 6);
        drop(two);
        check("spot", 0, 4);
        drop((one, other));
        assert!(!demand.uses(&address));
        check("spot", 0, 0);
        check("safe", 0, 0);
    }
}
