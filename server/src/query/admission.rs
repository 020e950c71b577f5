//! Who may run now: a queue for each group of users, first come first served inside, and turns by weight between them.
//! A query that waits holds neither memory for rows nor an executor.

mod config;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use executor::Limits;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::registry::{Origin, RunningQuery};
use crate::error::{Error, Result};

pub use config::{Config, Group};

/// Decides when queries run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admission(Arc<Inner>);

struct Inner {
    config: Config,
    state: Mutex<State>,
    /// By query, the permit that its parts have together.
    parts: Mutex<HashMap<Uuid, Together>>,
}

type Together = Arc<tokio::sync::Mutex<Weak<Permit>>>;

#[derive(Default)]
struct State {
    running: usize,
    next: u64,
    /// One for each group of the configuration, in its order, and one for all others.
    groups: Vec<GroupState>,
}

#[derive(Default)]
struct GroupState {
    running: usize,
    users: HashMap<String, usize>,
    waiting: VecDeque<Waiter>,
    /// Grows with each query that begins, the slower the higher the group's weight. The lowest is next.
    pass: f64,
}

struct Waiter {
    number: u64,
    query: Arc<RunningQuery>,
    admit: oneshot::Sender<Permit>,
}

/// The right to run. Dropping it lets the next one in.
pub(crate) struct Permit {
    inner: Arc<Inner>,
    /// None for those who need no turn.
    slot: Option<(usize, String)>,
}

impl Admission {
    pub(crate) fn new(config: Config) -> Self {
        let mut groups = Vec::new();
        groups.resize_with(config.groups.len() + 1, GroupState::default);
        let state = State {
            groups,
            ..State::default()
        };
        Self(Arc::new(Inner {
            config,
            state: Mutex::new(state),
            parts: Mutex::default(),
        }))
    }

    /// How long a statement of `user` may run, where that is limited.
    pub(crate) fn timeout_max(&self, user: &str, origin: &Origin) -> Option<Duration> {
        self.group(user, origin).statement_timeout_max
    }

    /// The rows a query of `user` may give.
    pub(crate) fn rows_max(&self, user: &str, origin: &Origin) -> Option<u64> {
        self.group(user, origin).rows_max
    }

    fn group(&self, user: &str, origin: &Origin) -> &Group {
        let config = &self.0.config;
        config.group(config.group_of(user, &origin.tags))
    }

    /// What a query of `user` may use.
    pub(crate) fn limits(&self, user: &str, origin: &Origin) -> Limits {
        let group = self.group(user, origin);
        Limits {
            memory_bytes_max: group.query_memory_bytes_max,
            scan_bytes_max: group.scan_bytes_max,
            executor_set: group.executor_set.clone(),
            ..Limits::default()
        }
    }

    /// By group, queries that run and queries that wait.
    pub(crate) fn groups(&self) -> Vec<(String, usize, usize)> {
        let (config, state) = (&self.0.config, self.0.state());
        let groups = state.groups.iter().enumerate();
        let counts = groups.map(|(index, group)| {
            let name = config.group(index).name.clone();
            (name, group.running, group.waiting.len())
        });
        counts.collect()
    }

    /// The right to run without waiting, for what reads no table.
    pub(crate) fn bypass(&self) -> Permit {
        Permit {
            inner: Arc::clone(&self.0),
            slot: None,
        }
    }

    /// Waits until `query` may run. Dropping the future leaves the queue.
    ///
    /// # Errors
    /// [`Error::Limit`] where the queue is full, or the wait longer than it may be.
    pub(crate) async fn admit(&self, query: &Arc<RunningQuery>) -> Result<Permit> {
        let config = &self.0.config;
        if config.admins.contains(&query.user) {
            return Ok(self.bypass());
        }
        let index = config.group_of(&query.user, &query.origin.tags);
        let group = config.group(index);
        let (admit, mut admitted) = oneshot::channel();
        let number = {
            let mut state = self.0.state();
            let waiting = state.groups[index].waiting.len();
            // Whoever can begin at once needs no place in the queue.
            if waiting >= group.queue_max && !(waiting == 0 && state.has_room(config, index)) {
                return Err(Error::Limit {
                    detail: format!(
                        "{waiting} queries wait in the queue of group {}, as many as may",
                        group.name
                    ),
                    hint: "try again later",
                });
            }
            let number = state.next;
            state.next += 1;
            state.enter(index, number, query, admit);
            number
        };
        let _place = Place {
            inner: &self.0,
            index,
            number,
        };
        self.0.admit_next();
        match tokio::time::timeout(group.queue_timeout, &mut admitted).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Error::Limit {
                detail: format!(
                    "the query waited {} in the queue of group {}, as long as it may",
                    humantime_serde::re::humantime::format_duration(group.queue_timeout),
                    group.name
                ),
                hint: "try again later",
            }),
        }
    }

    /// As [`Admission::admit`], for one part of a query: all parts that run at the same time have one place together.
    pub(crate) async fn admit_part(&self, query: &Arc<RunningQuery>) -> Result<Arc<Permit>> {
        let id = query.origin.id;
        let place = {
            let mut parts = self.0.parts.lock().unwrap_or_else(PoisonError::into_inner);
            parts.retain(|_, place| {
                let runs = place.try_lock().is_ok_and(|permit| permit.strong_count() > 0);
                runs || Arc::strong_count(place) > 1
            });
            Arc::clone(parts.entry(id).or_default())
        };
        // One asks for all of them. Where its client goes away meanwhile, the next one does.
        let mut held = place.lock_owned().await;
        if let Some(permit) = held.upgrade() {
            return Ok(permit);
        }
        let permit = Arc::new(self.admit(query).await?);
        *held = Arc::downgrade(&permit);
        Ok(permit)
    }
}

/// A place in a queue: left when this is dropped, if the query was not admitted meanwhile.
struct Place<'a> {
    inner: &'a Arc<Inner>,
    index: usize,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.inner.state();
        let group = &mut state.groups[self.index];
        if let Some(at) = group.waiting.iter().position(|waiter| waiter.number == self.number) {
            if let Some(waiter) = group.waiting.remove(at) {
                waiter.query.set_queue_position(0);
            }
            group.renumber();
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some((index, user)) = self.slot.take() else { return };
        {
            let mut state = self.inner.state();
            state.running -= 1;
            let group = &mut state.groups[index];
            group.running -= 1;
            if let Some(count) = group.users.get_mut(&user) {
                *count -= 1;
                if *count == 0 {
                    group.users.remove(&user);
                }
            }
        }
        self.inner.admit_next();
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets everybody in for whom there is room.
    fn admit_next(self: &Arc<Self>) {
        let mut admitted = Vec::new();
        {
            let mut state = self.state();
            while let Some((index, waiter)) = state.pick(&self.config) {
                let permit = Permit {
                    inner: Arc::clone(self),
                    slot: Some((index, waiter.query.user.clone())),
                };
                admitted.push((waiter.admit, permit));
            }
        }
        for (admit, permit) in admitted {
            // Who waits no longer gives it back, without the lock.
            drop(admit.send(permit));
        }
    }
}

impl State {
    fn enter(&mut self, index: usize, number: u64, query: &Arc<RunningQuery>, admit: oneshot::Sender<Permit>) {
        let busy = |group: &&GroupState| group.running > 0 || !group.waiting.is_empty();
        let least = self.groups.iter().filter(busy).map(|group| group.pass).reduce(f64::min);
        let group = &mut self.groups[index];
        if let Some(least) = least.filter(|_| group.running == 0 && group.waiting.is_empty()) {
            // Who had nothing to run for a while gets no more than a fair share now.
            group.pass = group.pass.max(least);
        }
        group.waiting.push_back(Waiter {
            number,
            query: Arc::clone(query),
            admit,
        });
        group.renumber();
    }

    fn has_room(&self, config: &Config, index: usize) -> bool {
        self.running < config.concurrency_max && self.groups[index].running < config.group(index).places()
    }

    /// Takes the next query that may run out of its queue.
    fn pick(&mut self, config: &Config) -> Option<(usize, Waiter)> {
        let candidates = (0..self.groups.len()).filter(|index| self.has_room(config, *index));
        let candidates = candidates.filter_map(|index| {
            let (group, limits) = (&self.groups[index], config.group(index));
            let free = |waiter: &Waiter| {
                let running = group.users.get(&waiter.query.user).copied().unwrap_or(0);
                running < limits.user_concurrency_max.unwrap_or(usize::MAX)
            };
            Some((index, group.waiting.iter().position(free)?))
        });
        let (index, at) = candidates.min_by(|(one, _), (two, _)| {
            let (one, two) = (&self.groups[*one], &self.groups[*two]);
            one.pass.total_cmp(&two.pass)
        })?;
        self.running += 1;
        let group = &mut self.groups[index];
        let waiter = group.waiting.remove(at)?;
        group.running += 1;
        group.pass += 1.0 / f64::from(config.group(index).weight);
        *group.users.entry(waiter.query.user.clone()).or_default() += 1;
        waiter.query.set_queue_position(0);
        group.renumber();
        Some((index, waiter))
    }
}

impl GroupState {
    fn renumber(&self) {
        for (position, waiter) in (1..).zip(&self.waiting) {
            waiter.query.set_queue_position(position);
        }
    }
}
