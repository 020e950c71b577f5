//! One scaler among several servers of a release: whoever holds the release's Lease decides. The others write beside it
//! what their queries want, so that the holder decides for all. Needs `get` and `update` of that one Lease.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::meaning::Failure;
use super::within;
use crate::scale::demand::Asked;

/// A holder that has not renewed for so long has lost it. Clocks of servers are not compared: what counts is how long
/// nothing was seen to change.
const HELD_FOR: Duration = Duration::from_secs(15);
/// The holder itself stops earlier, so that there are never two.
pub(super) const TRUSTED_FOR: Duration = Duration::from_secs(10);
/// How often two servers may write at once before a look is given up.
const ATTEMPTS_MAX: usize = 4;
/// Before the name of a server in an annotation.
const WANTS: &str = "wants.lakewing.dev/";

/// What the queries of servers want, by set.
pub(super) type Wants = BTreeMap<String, Asked>;

/// What one server writes about its queries.
#[derive(Debug, Serialize, Deserialize)]
struct Written {
    /// Counts up while its server lives.
    turn: u64,
    /// By set: queries that wait, tasks wanted.
    sets: BTreeMap<String, (usize, usize)>,
}

/// What looking at the Lease brings.
#[derive(Debug, Clone)]
pub(super) struct Term {
    /// This server decides.
    pub(super) holds: bool,
    /// Who does.
    pub(super) holder: String,
    /// The Lease as the owner of pods.
    pub(super) owner: OwnerReference,
    /// What the queries of all other servers want.
    pub(super) others: Wants,
}

/// One server that would hold the Lease.
pub(super) struct Candidate {
    api: Api<Lease>,
    name: String,
    me: String,
    turn: u64,
    /// See [`HELD_FOR`].
    pub(super) held_for: Duration,
    /// Who held it when it changed last, and when that was seen.
    held: Option<(LeaseSpec, Instant)>,
    /// By server, the last turn and when it was seen.
    turns: HashMap<String, (u64, Instant)>,
}

impl Candidate {
    /// `me` among the servers of the release whose Lease is `name`.
    pub(super) fn new(api: Api<Lease>, name: &str, me: &str) -> Self {
        Self {
            api,
            name: name.to_owned(),
            me: me.to_owned(),
            turn: 0,
            held_for: HELD_FOR,
            held: None,
            turns: HashMap::new(),
        }
    }

    /// Renews, takes or watches the Lease, and writes what the queries of this server want, `own`.
    ///
    /// # Errors
    /// The API server's. This server does not know then whether it holds the Lease.
    pub(super) async fn look(&mut self, own: &Wants) -> Result<Term, Failure> {
        let mut last = Failure::Unknown("the Lease changes all the time".to_owned());
        for _ in 0..ATTEMPTS_MAX {
            let mut lease = within(self.api.get(&self.name)).await?;
            let term = self.turn(&mut lease, own, Instant::now());
            match within(self.api.replace(&self.name, &PostParams::default(), &lease)).await {
                Ok(written) => {
                    if let Some(spec) = &written.spec {
                        self.seen(spec, Instant::now());
                    }
                    return Ok(term);
                }
                // Another server was faster.
                Err(conflict @ Failure::Conflict(_)) => last = conflict,
                Err(other) => return Err(other),
            }
        }
        Err(last)
    }

    /// Gives it back, so that another need not wait. A failure only costs that wait.
    pub(super) async fn resign(&mut self) -> Result<(), Failure> {
        let mut lease = within(self.api.get(&self.name)).await?;
        if let Some(annotations) = &mut lease.metadata.annotations {
            annotations.remove(&format!("{WANTS}{}", self.me));
        }
        if let Some(spec) = &mut lease.spec
            && spec.holder_identity.as_deref() == Some(&*self.me)
        {
            spec.holder_identity = None;
        }
        let written = within(self.api.replace(&self.name, &PostParams::default(), &lease)).await;
        written.map(drop)
    }

    /// Makes `lease` what it shall be.
    pub(super) fn turn(&mut self, lease: &mut Lease, own: &Wants, now: Instant) -> Term {
        let spec = lease.spec.get_or_insert_default();
        let fresh = now.duration_since(self.seen(spec, now)) < self.held_for;
        let held = spec.holder_identity.clone().filter(|holder| !holder.is_empty());
        let is_mine = held.as_ref() == Some(&self.me);
        let holds = is_mine || held.is_none() || !fresh;
        if holds {
            let time = MicroTime(Timestamp::now());
            if !is_mine {
                spec.acquire_time = Some(time.clone());
                spec.lease_transitions = Some(spec.lease_transitions.unwrap_or(0).saturating_add(1));
            }
            spec.holder_identity = Some(self.me.clone());
            spec.lease_duration_seconds = i32::try_from(self.held_for.as_secs()).ok();
            spec.renew_time = Some(time);
        }
        let holder = spec.holder_identity.clone().unwrap_or_default();
        self.turn += 1;
        let annotations = lease.metadata.annotations.get_or_insert_default();
        let others = self.read(annotations, now);
        let sets = own
            .iter()
            .map(|(set, asked)| (set.clone(), (asked.waiting, asked.tasks)));
        let written = Written {
            turn: self.turn,
            sets: sets.collect(),
        };
        if let Ok(text) = serde_json::to_string(&written) {
            annotations.insert(format!("{WANTS}{}", self.me), text);
        }
        Term {
            holds,
            holder,
            owner: OwnerReference {
                api_version: "coordination.k8s.io/v1".to_owned(),
                kind: "Lease".to_owned(),
                name: self.name.clone(),
                uid: lease.metadata.uid.clone().unwrap_or_default(),
                block_owner_deletion: Some(false),
                controller: None,
            },
            others,
        }
    }

    /// Since when `spec` is as it is, for all that this server has seen. What servers write about their queries is no part
    /// of it.
    fn seen(&mut self, spec: &LeaseSpec, now: Instant) -> Instant {
        match &self.held {
            Some((seen, since)) if seen == spec => *since,
            _ => {
                self.held = Some((spec.clone(), now));
                now
            }
        }
    }

    /// What the other servers wrote that live; what the dead wrote is removed.
    fn read(&mut self, annotations: &mut BTreeMap<String, String>, now: Instant) -> Wants {
        let mut others = Wants::new();
        annotations.retain(|key, text| {
            let Some(server) = key.strip_prefix(WANTS) else {
                return true;
            };
            if server == self.me {
                return true;
            }
            let Ok(written) = serde_json::from_str::<Written>(text) else {
                return false;
            };
            let seen = self.turns.entry(server.to_owned()).or_insert((written.turn, now));
            if seen.0 != written.turn {
                *seen = (written.turn, now);
            }
            let lives = now.duration_since(seen.1) < self.held_for;
            for (set, (waiting, tasks)) in written.sets.into_iter().filter(|_| lives) {
                let asked = others.entry(set).or_default();
                asked.waiting += waiting;
                asked.tasks += tasks;
            }
            lives
        });
        self.turns
            .retain(|server, _| annotations.contains_key(&format!("{WANTS}{server}")));
        others
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scale::pods::tests::scripted;

    #[tokio::test]
    async fn one_of_two_holds_the_lease_and_hears_what_the_other_wants() {
        let client = scripted(|_| None);
        let candidate = |me: &str| Candidate::new(Api::namespaced(client.clone(), "test"), "lakewing", me);
        let (mut one, mut two) = (candidate("one"), candidate("two"));
        let mut lease = serde_json::from_value(json!({ "metadata": { "uid": "1" } })).unwrap();
        let wants = |waiting, tasks| Wants::from([("spot".to_owned(), Asked { waiting, tasks })]);
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        assert!(one.turn(&mut lease, &wants(1, 2), at(0)).holds);
        let term = two.turn(&mut lease, &wants(3, 4), at(1));
        assert!(!term.holds && term.holder == "one", "{term:?}");
        assert_eq!(term.others, wants(1, 2));
        assert_eq!(one.turn(&mut lease, &wants(0, 0), at(2)).others, wants(3, 4));
        // The first is silent: the other waits until it must be dead, and forgets what it wanted.
        assert!(!two.turn(&mut lease, &wants(3, 4), at(3)).holds);
        assert!(!two.turn(&mut lease, &wants(3, 4), at(17)).holds);
        let term = two.turn(&mut lease, &wants(3, 4), at(18));
        assert!(term.holds && term.others.is_empty(), "{term:?}");
        assert_eq!(term.owner.uid, "1");
        assert!(!one.turn(&mut lease, &wants(0, 0), at(19)).holds);
        // What is given back is taken at once.
        lease.spec.as_mut().unwrap().holder_identity = None;
        assert!(one.turn(&mut lease, &wants(0, 0), at(20)).holds);
    }

    #[tokio::test]
    async fn the_lease_of_a_dead_server_passes_on() {
        let lease = json!({ "metadata": { "uid": "1" }, "spec": { "holderIdentity": "dead", "leaseTransitions": 3 } });
        let client = scripted(move |_| Some((200, lease.clone())));
        let mut candidate = Candidate::new(Api::namespaced(client, "test"), "lakewing", "one");
        candidate.held_for = Duration::from_millis(300);
        let began = Instant::now();
        while !candidate.look(&Wants::new()).await.unwrap().holds {
            assert!(began.elapsed() < Duration::from_secs(10), "it never does");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(began.elapsed() >= candidate.held_for, "{:?}", began.elapsed());
    }
}
