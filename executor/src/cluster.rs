//! The executors alive now, and the connections to them. Knows neither plans nor how they run.

pub(crate) mod channel;
mod fixed;
pub(crate) mod lending;
pub(crate) mod members;
pub(crate) mod probe;
pub(crate) mod tls;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use datafusion::common::runtime::SpawnedTask;
use url::Url;

use crate::config::{Config, EXECUTORS_MAX, Mode, SetConfig};
use crate::error::Result;
use crate::process::memory::Memory;
use crate::scale::autoscaler::Autoscaler;

use channel::Channels;
use fixed::InProcess;
use lending::Lending;
use members::{Health, Members, Peer, Seen};
use probe::Found;

/// A query that had to wait for its first executor waits so long for as many as it wants.
const GATHER: Duration = Duration::from_secs(2);

/// One executor, as SHOW EXECUTORS shows it.
#[derive(Debug, Clone)]
pub struct ExecutorInfo {
    /// Its name; its address where somebody else starts it.
    pub name: String,
    /// The set it belongs to; empty where there are no sets.
    pub set: String,
    /// `starting`, `ready`, `draining`, `refusing` or `lost`.
    pub state: &'static str,
    /// Since when.
    pub since: SystemTime,
    /// Where it listens; none before it does.
    pub address: Option<Url>,
    /// Queries it works for and streams that are read from it, when it was last asked.
    pub running_tasks: u32,
    /// Why it is as it is, in plain words; empty where there is nothing to say.
    pub reason: String,
}

/// What one set of executors wants and has cost, since its server began.
#[derive(Debug, Clone)]
pub struct SetInfo {
    /// Its name.
    pub set: String,
    /// Executors that would suffice for all that is asked; more than `max` where that is less than enough.
    pub wanted: usize,
    /// The most that may be.
    pub max: usize,
    /// Executors that this server started.
    pub started: u64,
    /// Starts that failed, and executors that ended by themselves.
    pub failed: u64,
    /// Executor-seconds, while this server decided.
    pub seconds: f64,
}

/// The executors of one server.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Arc<Members>,
    channels: Arc<Channels>,
    wait: Duration,
    in_process: Option<InProcess>,
    scaler: Option<Autoscaler>,
    lending: Option<Arc<Lending>>,
    _keeping: Vec<SpawnedTask<()>>,
}

impl Cluster {
    /// The executors that `config` names; those inside this process are started, with `memory` for their tasks.
    /// `None` where there are none to be. From now on each of them is asked every moment whether it lives.
    pub(crate) async fn start(config: &Config, memory: &Arc<Memory>) -> Result<Option<Self>> {
        let members = Arc::new(Members::default());
        let scaler = Autoscaler::start(config, &members).await?;
        let (found, in_process) = match &config.mode {
            Mode::Embedded => return Ok(None),
            Mode::InProcess { count } => {
                let started = InProcess::start(*count, config, memory).await?;
                (Found::Listed(started.addresses().to_vec()), Some(started))
            }
            Mode::Static { addresses } => (Found::Listed(addresses.clone()), None),
            Mode::Dns { host, port } => {
                let scheme = if config.tls.is_some() { "https" } else { "http" };
                (Found::Resolved(scheme, host.clone(), *port), None)
            }
            Mode::Process { .. } | Mode::Kubernetes(_) => match &scaler {
                Some(scaler) => (Found::Started(scaler.fleet().placed()), None),
                None => return Ok(None),
            },
        };
        // Executors inside this process listen on this machine only.
        let tls = config.tls.as_ref().filter(|_| in_process.is_none());
        let channels = Channels::new(config.links(), tls, EXECUTORS_MAX)?;
        if let Found::Listed(addresses) = &found {
            members.set(addresses);
        }
        let probing = probe::supervise(Arc::clone(&members), Arc::clone(&channels), found, config.lost_after);
        let mut keeping = vec![SpawnedTask::spawn(probing)];
        // Executors inside this process have what it has.
        let lending = in_process.is_none().then(|| {
            let stores = Arc::clone(memory.stores());
            Lending::new(stores, Arc::clone(&channels), Arc::clone(&members))
        });
        if let Some(lending) = &lending {
            keeping.push(SpawnedTask::spawn(Arc::clone(lending).keep()));
        }
        Ok(Some(Self {
            members,
            channels,
            wait: config.executors_wait,
            in_process,
            scaler,
            lending,
            _keeping: keeping,
        }))
    }

    /// What is known about the executors.
    pub(crate) fn members(&self) -> &Arc<Members> {
        &self.members
    }

    /// The connections to them.
    pub(crate) fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// What hands on credentials to them; none where they are in this process.
    pub(crate) fn lending(&self) -> Option<&Lending> {
        self.lending.as_deref()
    }

    /// The executors that take tasks now, without `excluded`; waits for one where there is none.
    ///
    /// # Errors
    /// Why one of them takes none, when the wait was in vain.
    pub(crate) async fn ready(&self, excluded: &HashSet<Peer>) -> Result<Vec<Peer>> {
        self.members.ready(excluded, self.wait).await
    }

    /// Those of `peers` that do not answer at once, or are other processes by now. They get no new queries until they
    /// have answered again.
    pub(crate) async fn find_lost(&self, peers: &[Peer]) -> Vec<Peer> {
        let lost = probe::find_lost(&self.channels, peers).await;
        lost.iter().for_each(|peer| self.members.suspect(&peer.address));
        lost
    }

    /// Where the executors are that the configuration names, alive or not.
    pub(crate) fn addresses(&self) -> Vec<Url> {
        self.members.addresses()
    }

    /// What starts and ends them, where this server does.
    pub(crate) fn scaler(&self) -> Option<&Autoscaler> {
        self.scaler.as_ref()
    }

    /// The executors of the set that takes tasks now, without `excluded`: once there are `wanted` or a moment has
    /// passed since the first came.
    ///
    /// # Errors
    /// [`Error::NotStarted`](crate::Error::NotStarted) where none came in time.
    pub(crate) async fn gather(
        &self,
        (scaler, set): (&Autoscaler, &SetConfig),
        excluded: &HashSet<Peer>,
        wanted: usize,
    ) -> Result<Vec<Peer>> {
        let patience = (set.start_timeout, GATHER);
        match self.members.gather(&set.name, excluded, wanted, patience).await {
            peers if peers.is_empty() => Err(scaler.why_none(set)),
            peers => Ok(peers),
        }
    }

    /// All executors and how they are.
    pub(crate) fn executors(&self) -> Vec<ExecutorInfo> {
        let seen = self.members.seen();
        let Some(scaler) = &self.scaler else {
            return seen.iter().map(|one| shown(plain(&one.address), one)).collect();
        };
        let started = scaler.fleet().all().into_iter().map(|(name, started)| {
            let seen = seen.iter().find(|one| Some(&one.address) == started.address.as_ref());
            let mut info = match seen {
                Some(seen) => shown(name, seen),
                None => ExecutorInfo {
                    name,
                    set: started.set.to_string(),
                    state: "starting",
                    since: started.since,
                    address: None,
                    running_tasks: 0,
                    reason: String::new(),
                },
            };
            if started.leaving {
                (info.state, info.since) = ("draining", started.since);
            }
            if info.reason.is_empty() {
                info.reason = started.reason;
            }
            info
        });
        started.collect()
    }

    /// The sets of executors that this server starts.
    pub(crate) fn sets(&self) -> Vec<SetInfo> {
        let counts = self.scaler.iter().flat_map(Autoscaler::counts);
        let info = counts.map(|(set, counts)| SetInfo {
            set: set.name.clone(),
            wanted: counts.wanted,
            max: set.max,
            started: counts.started,
            failed: counts.failed,
            seconds: counts.seconds,
        });
        info.collect()
    }

    /// Ends the executors that this server started, once their queries ended or the grace period is over. Leaves others
    /// alone.
    pub(crate) async fn shutdown(&self) {
        if let Some(scaler) = &self.scaler {
            scaler.shutdown().await;
        }
        if let Some(in_process) = &self.in_process {
            in_process.shutdown().await;
        }
    }
}

fn shown(name: String, seen: &Seen) -> ExecutorInfo {
    let (state, reason) = match &seen.health {
        Health::Unknown => ("starting", String::new()),
        Health::Ready { .. } => ("ready", String::new()),
        Health::Draining { .. } => ("draining", String::new()),
        Health::Refusing { reason } => ("refusing", reason.clone()),
        Health::Lost { reason } => ("lost", reason.clone()),
    };
    ExecutorInfo {
        name,
        set: seen.set.to_string(),
        state,
        since: seen.since,
        address: Some(seen.address.clone()),
        running_tasks: seen.calls,
        reason,
    }
}

fn plain(address: &Url) -> String {
    address.as_str().trim_end_matches('/').to_owned()
}
