//! Looks at what is asked and what is there, lets [`decide`](super::decide) say what to do, and does it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::demand::{Asked, Demand, Wanted};
use super::fleet::{Counts, Fleet, Started};
use super::pods::Pods;
use super::processes::Processes;
use super::{ExecutorLoad, History, Load, Phase, decide};
use crate::cluster::members::{Health, Members, Seen};
use crate::config::{Config, Mode, SetConfig};
use crate::error::{Error, Result};

/// How often it looks, whatever happens.
const INTERVAL_MAX: Duration = Duration::from_millis(500);
/// An executor that does not answer for so long is ended.
const LOST_FOR: Duration = Duration::from_secs(10);

/// Keeps as many executors of each set as are needed.
#[derive(Debug)]
pub(crate) struct Autoscaler {
    sets: Vec<SetConfig>,
    demand: Demand,
    fleet: Arc<Fleet>,
    launcher: Launcher,
    stop: CancellationToken,
    _deciding: SpawnedTask<()>,
}

/// How executors come to be.
#[derive(Debug, Clone)]
enum Launcher {
    Processes(Arc<Processes>),
    Pods(Arc<Pods>),
}

impl Autoscaler {
    /// For the sets of `config`; `None` where its mode starts no executors. `members` say how they are.
    ///
    /// # Errors
    /// [`Error::Config`] where what starts them cannot be used.
    pub(crate) async fn start(config: &Config, members: &Arc<Members>) -> Result<Option<Self>> {
        let fleet = Arc::new(Fleet::default());
        let demand = Demand::default();
        let stop = CancellationToken::new();
        let launcher = match &config.mode {
            Mode::Process { program } => {
                Launcher::Processes(Processes::new(program.as_deref(), config, Arc::clone(&fleet))?)
            }
            Mode::Kubernetes(kubernetes) => {
                let (fleet, demand) = (Arc::clone(&fleet), demand.clone());
                Launcher::Pods(Pods::start_watching(config, kubernetes, fleet, demand, stop.clone()).await?)
            }
            _ => return Ok(None),
        };
        let sets = config.scaled_sets();
        let scaler = Scaler {
            sets: sets
                .iter()
                .map(|set| (Arc::from(set.name.as_str()), set.clone()))
                .collect(),
            demand: demand.clone(),
            fleet: Arc::clone(&fleet),
            members: Arc::clone(members),
            launcher: launcher.clone(),
            began: Instant::now(),
        };
        let stopped = stop.clone();
        let deciding = async move {
            stopped.run_until_cancelled(scaler.run()).await;
        };
        Ok(Some(Self {
            sets,
            demand,
            fleet,
            launcher,
            stop,
            _deciding: SpawnedTask::spawn(deciding),
        }))
    }

    /// The set of that name, or the first where none is named.
    ///
    /// # Errors
    /// [`Error::Settings`] where there is no such set.
    pub(crate) fn set(&self, name: Option<&str>) -> Result<&SetConfig> {
        let found = match name {
            None => self.sets.first(),
            Some(name) => self.sets.iter().find(|set| set.name == name),
        };
        found.ok_or_else(|| {
            let names: Vec<_> = self.sets.iter().map(|set| set.name.as_str()).collect();
            Error::Settings {
                detail: format!(
                    "there is no set of executors \"{}\"; the sets are {}",
                    name.unwrap_or_default(),
                    names.join(", ")
                ),
            }
        })
    }

    /// A query wants to run `tasks` at once on `set`.
    pub(crate) fn want(&self, set: &SetConfig, tasks: usize) -> Wanted {
        self.demand.enter(&set.name, tasks)
    }

    /// Why there is no executor of `set`.
    pub(crate) fn why_none(&self, set: &SetConfig) -> Error {
        Error::NotStarted {
            set: set.name.clone(),
            reason: self.fleet.why_none(&set.name),
        }
    }

    /// Each set, and what was done for it.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&SetConfig, Counts)> {
        self.sets.iter().map(|set| (set, self.fleet.counts(&set.name)))
    }

    /// The executors that were started.
    pub(crate) fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Ends what ends with its server.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        match &self.launcher {
            Launcher::Processes(processes) => processes.shutdown().await,
            Launcher::Pods(pods) => pods.shutdown().await,
        }
    }
}

impl Drop for Autoscaler {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Scaler {
    sets: Vec<(Arc<str>, SetConfig)>,
    demand: Demand,
    fleet: Arc<Fleet>,
    members: Arc<Members>,
    launcher: Launcher,
    began: Instant,
}

impl Scaler {
    async fn run(self) {
        let mut histories: HashMap<Arc<str>, History> = HashMap::new();
        let shortest = self.sets.iter().map(|(_, set)| set.round.min(set.idle_timeout)).min();
        let interval = shortest.unwrap_or(INTERVAL_MAX).clamp(INTERVAL_MAX / 10, INTERVAL_MAX);
        loop {
            match self.launcher.standing() {
                Ok(others) => self.look(&others, &mut histories),
                Err(why) => self.stand_by(&why),
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.demand.changed() => self.launcher.poke(),
                () = self.fleet.changed() => {}
            }
        }
    }

    /// One decision about each set, where the queries of other servers want `others`.
    fn look(&self, others: &BTreeMap<String, Asked>, histories: &mut HashMap<Arc<str>, History>) {
        let seen: HashMap<Url, Seen> = self
            .members
            .seen()
            .into_iter()
            .map(|one| (one.address.clone(), one))
            .collect();
        self.end_lost(&seen);
        self.launcher.give_up();
        for (name, set) in &self.sets {
            let (own, others) = (self.demand.of(name), others.get(&**name).copied().unwrap_or_default());
            let asked = Asked {
                waiting: own.waiting + others.waiting,
                tasks: own.tasks + others.tasks,
            };
            let history = histories.remove(name).unwrap_or_default();
            histories.insert(Arc::clone(name), self.scale((name, set), asked, &seen, history));
        }
    }

    /// Somebody else decides, or nobody can: those who wait hear why.
    fn stand_by(&self, why: &str) {
        for (name, _) in &self.sets {
            self.fleet.uncounted(name);
            if self.fleet.decided(name, why.to_owned()) {
                info!(set = %name, why, "executors are left as they are");
            }
        }
    }

    /// One decision about one set, and its consequences.
    fn scale(
        &self,
        (name, set): (&Arc<str>, &SetConfig),
        asked: Asked,
        seen: &HashMap<Url, Seen>,
        history: History,
    ) -> History {
        let now = self.began.elapsed();
        let all = self.fleet.all();
        let own = all.iter().filter(|(_, started)| started.set == *name);
        let executors = own.map(|(executor, started)| ExecutorLoad {
            name: executor.clone(),
            phase: self.phase(started, seen),
        });
        let load = Load {
            executors: executors.collect(),
            waiting: asked.waiting,
            tasks: asked.tasks,
            blocked: self
                .fleet
                .blocked(name)
                .map(|(until, why)| (until.duration_since(self.began), why)),
            history,
        };
        let decision = decide(&load, set, now);
        let reason = decision.reason.to_string();
        self.fleet.counted(name, load.executors.len(), decision.wanted);
        let news = self.fleet.decided(name, reason.clone());
        if decision.start > 0 || !decision.stop.is_empty() {
            let (there, start, stop) = (load.executors.len(), decision.start, decision.stop.len());
            info!(set = %name, there, start, stop, wanted = decision.wanted, reason, "executors are scaled");
            if let Launcher::Pods(pods) = &self.launcher {
                pods.scaled((&**name, there), start, &decision.stop, &reason);
            }
        } else if news {
            info!(set = %name, there = load.executors.len(), wanted = decision.wanted, reason, "executors stay as they are");
        }
        for _ in 0..decision.start {
            self.launcher.start(name, &reason);
        }
        for executor in &decision.stop {
            if let Some(address) = all.get(executor).and_then(|started| started.address.as_ref()) {
                self.members.suspect(address);
            }
            self.launcher.stop(executor, &reason);
        }
        decision.history
    }

    fn phase(&self, started: &Started, seen: &HashMap<Url, Seen>) -> Phase {
        if started.leaving {
            return Phase::Leaving;
        }
        let Some(seen) = started.address.as_ref().and_then(|address| seen.get(address)) else {
            return Phase::Starting;
        };
        match (&seen.health, seen.idle_since) {
            (Health::Unknown, _) => Phase::Starting,
            // A query may have begun since it was last asked.
            (Health::Ready { .. }, _) if self.demand.uses(&seen.address) => Phase::Busy,
            (Health::Ready { .. }, Some(since)) => Phase::Idle(since.saturating_duration_since(self.began)),
            (Health::Ready { .. }, None) => Phase::Busy,
            (Health::Draining { .. } | Health::Refusing { .. } | Health::Lost { .. }, _) => Phase::Leaving,
        }
    }

    /// Ends executors that are of no use: they cost and do not work.
    fn end_lost(&self, seen: &HashMap<Url, Seen>) {
        for (name, started) in self.fleet.all() {
            let Some(seen) = started.address.as_ref().and_then(|address| seen.get(address)) else {
                continue;
            };
            let reason = match &seen.health {
                Health::Lost { reason } | Health::Refusing { reason } if !started.leaving => reason,
                _ => continue,
            };
            if seen.since.elapsed().is_ok_and(|elapsed| elapsed >= LOST_FOR) {
                warn!(executor = name, reason, "an executor is ended, since it is of no use");
                self.launcher.stop(&name, reason);
            }
        }
    }
}

impl Launcher {
    /// What the queries of other servers want, where this one decides; else why it does not.
    fn standing(&self) -> std::result::Result<BTreeMap<String, Asked>, String> {
        match self {
            Launcher::Processes(_) => Ok(BTreeMap::new()),
            Launcher::Pods(pods) => pods.standing(),
        }
    }

    /// What queries want has changed.
    fn poke(&self) {
        if let Launcher::Pods(pods) = self {
            pods.poke();
        }
    }

    /// Gives up executors that do not get ready; processes do so by themselves.
    fn give_up(&self) {
        if let Launcher::Pods(pods) = self {
            pods.give_up();
        }
    }

    fn start(&self, set: &Arc<str>, reason: &str) {
        match self {
            Launcher::Processes(processes) => processes.start(set, reason),
            Launcher::Pods(pods) => pods.start(set, reason),
        }
    }

    fn stop(&self, name: &str, reason: &str) {
        match self {
            Launcher::Processes(processes) => processes.stop(name, reason),
            Launcher::Pods(pods) => pods.stop(name, reason),
        }
    }
}
