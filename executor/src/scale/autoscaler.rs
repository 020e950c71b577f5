//! Looks at what is asked and what is there, lets [`decide`](super::decide) say what to do, and does it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::demand::{Demand, Wanted};
use super::fleet::{Fleet, Started};
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
}

impl Autoscaler {
    /// For the sets of `config`; `None` where its mode starts no executors. `members` say how they are.
    pub(crate) fn start(config: &Config, members: &Arc<Members>) -> Result<Option<Self>> {
        let fleet = Arc::new(Fleet::default());
        let launcher = match &config.mode {
            Mode::Process { program } => {
                Launcher::Processes(Processes::new(program.as_deref(), config, Arc::clone(&fleet))?)
            }
            _ => return Ok(None),
        };
        let (sets, demand) = (config.scaled_sets(), Demand::default());
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
        let stop = CancellationToken::new();
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

    /// The executors that were started.
    pub(crate) fn fleet(&self) -> &Arc<Fleet> {
        &self.fleet
    }

    /// Ends what ends with its server.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        match &self.launcher {
            Launcher::Processes(processes) => processes.shutdown().await,
        }
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
            let seen: HashMap<Url, Seen> = self
                .members
                .seen()
                .into_iter()
                .map(|one| (one.address.clone(), one))
                .collect();
            self.end_lost(&seen);
            for (name, set) in &self.sets {
                let history = histories.remove(name).unwrap_or_default();
                histories.insert(Arc::clone(name), self.scale(name, set, &seen, history));
            }
            tokio::select! {
                () = tokio::time::sleep(interval) => {}
                () = self.demand.changed() => {}
                () = self.fleet.changed() => {}
            }
        }
    }

    /// One decision about one set, and its consequences.
    fn scale(&self, name: &Arc<str>, set: &SetConfig, seen: &HashMap<Url, Seen>, history: History) -> History {
        let now = self.began.elapsed();
        let asked = self.demand.of(name);
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
        let news = self.fleet.decided(name, reason.clone());
        if decision.start > 0 || !decision.stop.is_empty() {
            let (there, start, stop) = (load.executors.len(), decision.start, decision.stop.len());
            info!(set = %name, there, start, stop, wanted = decision.wanted, reason, "executors are scaled");
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
    fn start(&self, set: &Arc<str>, reason: &str) {
        match self {
            Launcher::Processes(processes) => processes.start(set, reason),
        }
    }

    fn stop(&self, name: &str, reason: &str) {
        match self {
            Launcher::Processes(processes) => processes.stop(name, reason),
        }
    }
}
