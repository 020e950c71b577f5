//! What is known about each executor: whether it takes tasks, and since which start of its process. Knows no
//! connections.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use proto::ResultsAddress;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};
use url::Url;

use super::channel::unreachable;
use crate::error::{Error, Result};

/// How long a query waits for executors that nothing is known about yet, while others are ready.
const FIRST_ANSWERS_WAIT: Duration = Duration::from_millis(500);

/// One start of one executor. After a restart it is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) address: Url,
    /// What it calls itself, see [`proto::ExecutorStatus`].
    pub(crate) instance: String,
}

/// How an executor is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// It was not asked yet.
    Unknown,
    /// It takes tasks.
    Ready {
        instance: String,
        cores: usize,
        /// Where it hands out results, if it does.
        results: Option<ResultsAddress>,
    },
    /// It finishes its tasks and ends.
    Draining { instance: String },
    /// It does not work for this server.
    Refusing { reason: String },
    /// It does not answer.
    Lost { reason: String },
}

impl Health {
    fn instance(&self) -> Option<&str> {
        match self {
            Health::Ready { instance, .. } | Health::Draining { instance } => Some(instance),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Member {
    health: Health,
    /// A query had trouble with it: no new ones until it has answered again.
    suspect: bool,
    /// The set it belongs to; empty where there are no sets.
    set: Arc<str>,
    /// When it became as it is.
    since: SystemTime,
    /// Calls that it answers: queries that it works for, and streams that others read from it.
    calls: u32,
    /// Since when there are none.
    idle_since: Option<Instant>,
}

/// One executor, as who asks is told.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) address: Url,
    pub(crate) set: Arc<str>,
    pub(crate) health: Health,
    pub(crate) since: SystemTime,
    pub(crate) calls: u32,
    pub(crate) idle_since: Option<Instant>,
}

/// The executors of one server, by address.
#[derive(Debug, Default)]
pub(crate) struct Members(watch::Sender<BTreeMap<Url, Member>>);

impl Members {
    /// The executors are those at `addresses` from now on.
    pub(crate) fn set(&self, addresses: &[Url]) {
        let set: Arc<str> = Arc::from("");
        let placed: Vec<_> = addresses
            .iter()
            .map(|address| (address.clone(), Arc::clone(&set)))
            .collect();
        self.place(&placed);
    }

    /// The executors are those at these addresses from now on, each in a set.
    pub(crate) fn place(&self, placed: &[(Url, Arc<str>)]) {
        self.0.send_if_modified(|members| {
            let before = members.len();
            members.retain(|address, _| placed.iter().any(|(known, _)| known == address));
            let mut changed = members.len() != before;
            for (address, set) in placed {
                changed |= !members.contains_key(address);
                members.entry(address.clone()).or_insert_with(|| Member {
                    health: Health::Unknown,
                    suspect: false,
                    set: Arc::clone(set),
                    since: SystemTime::now(),
                    calls: 0,
                    idle_since: None,
                });
            }
            changed
        });
    }

    /// `address` answers so many calls now.
    pub(crate) fn works(&self, address: &Url, calls: u32) {
        self.0.send_if_modified(|members| {
            if let Some(member) = members.get_mut(address) {
                member.calls = calls;
                member.idle_since = match (calls, member.idle_since) {
                    (0, None) => Some(Instant::now()),
                    (0, since) => since,
                    _ => None,
                };
            }
            false
        });
    }

    /// All of them, by address.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let members = self.0.borrow();
        let seen = members.iter().map(|(address, member)| Seen {
            address: address.clone(),
            set: Arc::clone(&member.set),
            health: member.health.clone(),
            since: member.since,
            calls: member.calls,
            idle_since: member.idle_since,
        });
        seen.collect()
    }

    /// All of their addresses.
    pub(crate) fn addresses(&self) -> Vec<Url> {
        self.0.borrow().keys().cloned().collect()
    }

    /// All that answered when they were last asked.
    pub(crate) fn started(&self) -> Vec<Peer> {
        let members = self.0.borrow();
        let started = members.iter().filter_map(|(address, member)| {
            let instance = member.health.instance()?.to_owned();
            Some(Peer {
                address: address.clone(),
                instance,
            })
        });
        started.collect()
    }

    /// `address` was asked and found to be so.
    pub(crate) fn found(&self, address: &Url, health: Health) {
        self.0.send_if_modified(|members| {
            let Some(member) = members.get_mut(address) else {
                return false;
            };
            let changed = member.suspect || member.health != health;
            if member.health != health {
                told(address, &member.health, &health);
                member.since = SystemTime::now();
            }
            if !matches!(health, Health::Ready { .. }) {
                member.idle_since = None;
            }
            member.health = health;
            member.suspect = false;
            changed
        });
    }

    /// No new queries for `address` until it was asked again.
    pub(crate) fn suspect(&self, address: &Url) {
        self.0.send_if_modified(|members| match members.get_mut(address) {
            Some(member) if !member.suspect => {
                member.suspect = true;
                true
            }
            _ => false,
        });
    }

    /// Waits until `address` is suspected.
    pub(crate) async fn suspected(&self, address: &Url) {
        let mut changes = self.0.subscribe();
        let suspected = changes.wait_for(|members| members.get(address).is_some_and(|member| member.suspect));
        // The sender is `self`.
        drop(suspected.await);
    }

    /// Those of `set`, or of all where it is `None`, that take tasks now, without `excluded`, by address.
    pub(crate) fn usable(&self, set: Option<&str>, excluded: &HashSet<Peer>) -> Vec<Peer> {
        usable(&self.0.borrow(), set, excluded)
    }

    /// Those of [`Members::usable`] that hand out results, and where.
    pub(crate) fn doors(&self, set: Option<&str>) -> Vec<(Peer, ResultsAddress)> {
        let members = self.0.borrow();
        let usable = usable(&members, set, &HashSet::new()).into_iter();
        let doors = usable.filter_map(|peer| match &members.get(&peer.address)?.health {
            Health::Ready {
                results: Some(results), ..
            } => Some((peer, results.clone())),
            _ => None,
        });
        doors.collect()
    }

    /// [`Members::usable`], once there are `wanted`; what there is after `first` where there is none until then, and at
    /// most `more` after the first.
    pub(crate) async fn gather(
        &self,
        set: &str,
        excluded: &HashSet<Peer>,
        wanted: usize,
        (first, more): (Duration, Duration),
    ) -> Vec<Peer> {
        let mut changes = self.0.subscribe();
        let some = changes.wait_for(|members| !usable(members, Some(set), excluded).is_empty());
        drop(tokio::time::timeout(first, some).await);
        let enough = changes.wait_for(|members| {
            let usable = usable(members, Some(set), excluded).len();
            usable >= wanted || usable == 0
        });
        drop(tokio::time::timeout(more, enough).await);
        self.usable(Some(set), excluded)
    }

    /// True where none is left that nothing is known about.
    pub(crate) fn all_known(&self) -> bool {
        all_known(&self.0.borrow())
    }

    /// The vCPUs of the smallest that takes tasks.
    pub(crate) fn cores(&self) -> Option<usize> {
        let members = self.0.borrow();
        let cores = members.values().filter_map(|member| match member.health {
            Health::Ready { cores, .. } if cores > 0 => Some(cores),
            _ => None,
        });
        cores.min()
    }

    /// [`Members::usable`], once all have answered for the first time or a moment has passed, and after at most `wait`
    /// where there is none.
    ///
    /// # Errors
    /// Why one of them takes no tasks.
    pub(crate) async fn ready(&self, excluded: &HashSet<Peer>, wait: Duration) -> Result<Vec<Peer>> {
        let mut changes = self.0.subscribe();
        let began = Instant::now();
        let first = changes.wait_for(all_known);
        drop(tokio::time::timeout_at(began + FIRST_ANSWERS_WAIT.min(wait), first).await);
        let some = changes.wait_for(|members| !usable(members, None, excluded).is_empty());
        drop(tokio::time::timeout_at(began + wait, some).await);
        let members = self.0.borrow();
        match usable(&members, None, excluded) {
            peers if peers.is_empty() => Err(reason(&members)),
            peers => Ok(peers),
        }
    }

    /// Waits until one of `peers` is lost or was started again; the error names it.
    pub(crate) async fn loss(&self, peers: &[Peer]) -> Error {
        let mut changes = self.0.subscribe();
        loop {
            {
                let members = changes.borrow_and_update();
                for peer in peers {
                    // One that left the list of names may still work on what it has.
                    let Some(member) = members.get(&peer.address) else {
                        continue;
                    };
                    let reason = match &member.health {
                        Health::Lost { reason } => reason.clone(),
                        other if other.instance().is_some_and(|instance| instance != peer.instance) => {
                            "it was started again".to_owned()
                        }
                        _ => continue,
                    };
                    return unreachable(&peer.address, reason);
                }
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

fn usable(members: &BTreeMap<Url, Member>, set: Option<&str>, excluded: &HashSet<Peer>) -> Vec<Peer> {
    let asked = members
        .iter()
        .filter(|(_, member)| set.is_none_or(|set| *member.set == *set));
    let ready = asked.filter_map(|(address, member)| match &member.health {
        Health::Ready { instance, .. } if !member.suspect => Some(Peer {
            address: address.clone(),
            instance: instance.clone(),
        }),
        _ => None,
    });
    ready.filter(|peer| !excluded.contains(peer)).collect()
}

fn all_known(members: &BTreeMap<Url, Member>) -> bool {
    !members.is_empty() && members.values().all(|member| member.health != Health::Unknown)
}

/// Why there is nobody to give tasks to: the first that says something.
fn reason(members: &BTreeMap<Url, Member>) -> Error {
    let reasons = members.iter().map(|(address, member)| {
        let address = address.as_str().trim_end_matches('/').to_owned();
        match &member.health {
            Health::Refusing { reason } => Error::Refused {
                address,
                reason: reason.clone(),
            },
            Health::Lost { reason } => Error::Unreachable {
                address,
                reason: reason.clone(),
            },
            Health::Draining { .. } => Error::Draining { address },
            Health::Unknown | Health::Ready { .. } => Error::Unreachable {
                address,
                reason: "it does not answer".to_owned(),
            },
        }
    });
    reasons.into_iter().next().unwrap_or(Error::NoExecutors)
}

fn told(address: &Url, before: &Health, after: &Health) {
    match after {
        Health::Unknown => {}
        Health::Ready { cores, .. } if *before == Health::Unknown => info!(%address, cores, "an executor is ready"),
        Health::Ready { .. } => info!(%address, "an executor is ready again"),
        Health::Draining { .. } => info!(%address, "an executor takes no new tasks: it is about to end"),
        Health::Refusing { reason } => warn!(%address, reason, "an executor is left out: it refuses to work"),
        Health::Lost { reason } => warn!(%address, reason, "an executor is left out: it does not answer"),
    }
}
