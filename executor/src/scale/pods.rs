//! Executors as pods of a Kubernetes cluster: created from a template, watched, and deleted so that they drain. While the
//! API server does not answer nothing is created or deleted, and what runs goes on. Pods outlive their server: the next
//! one adopts them.
//!
//! ```text
//!   Lease ──► who decides ─┐
//!   Autoscaler ────────────┴► create, delete ──► API server ──► watch ──► Fleet
//! ```

mod events;
mod lease;
mod meaning;
mod template;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use uuid::Uuid;

use super::demand::Demand;
use super::fleet::Fleet;
use crate::config::{Config, KubernetesConfig};
use crate::error::{Error, Result};

use events::{Events, Reason};
use lease::{Candidate, TRUSTED_FOR, Term, Wants};
use meaning::{Failure, failure};
use template::{Ours, Template};

/// The container that runs the executor.
const CONTAINER: &str = "executor";
/// Labels that pods are selected by.
const MANAGED: &str = "app.kubernetes.io/managed-by";
const MANAGER: &str = "lakewing";
const RELEASE: &str = "lakewing.dev/release";
const SET: &str = "lakewing.dev/executor-set";
/// How often the Lease is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// What the queries of one server want is not written more often.
const INTERVAL_MIN: Duration = Duration::from_millis(250);
/// Between two attempts of a call.
const RETRY: Duration = Duration::from_secs(1);
/// No answer after so long is none.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// The pods of one release.
pub(super) struct Pods {
    api: Api<Pod>,
    fleet: Arc<Fleet>,
    events: Events,
    demand: Demand,
    sets: HashMap<Arc<str>, Set>,
    release: String,
    scheme: &'static str,
    port: u16,
    state: Mutex<State>,
    poked: Notify,
    relist: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// How pods of one set are made.
struct Set {
    template: Template,
    pending_timeout: Duration,
}

struct State {
    /// What the Lease said, and when it was asked; or why that is not known.
    term: std::result::Result<(Term, Instant), String>,
    /// Why the pods are not known as they are.
    watched: std::result::Result<(), String>,
    /// Names of pods whose creation is not settled.
    in_flight: HashSet<String>,
    /// Names of pods that are being deleted.
    deleting: HashSet<String>,
}

impl Pods {
    /// The pods that `config` describes; watches them from now on until `stop`. Does not wait for the API server.
    ///
    /// # Errors
    /// [`Error::Config`] where a template, the kubeconfig or the service account cannot be used.
    pub(super) async fn start_watching(
        config: &Config,
        kubernetes: &KubernetesConfig,
        fleet: Arc<Fleet>,
        demand: Demand,
        stop: CancellationToken,
    ) -> Result<Arc<Self>> {
        let (client, namespace) = connect(kubernetes).await?;
        Self::over((client, &namespace), (config, kubernetes), fleet, demand, stop).await
    }

    async fn over(
        (client, namespace): (kube::Client, &str),
        (config, kubernetes): (&Config, &KubernetesConfig),
        fleet: Arc<Fleet>,
        demand: Demand,
        stop: CancellationToken,
    ) -> Result<Arc<Self>> {
        let mut sets = HashMap::new();
        for (index, set) in config.scaled_sets().iter().enumerate() {
            let ours = Ours::new(config, kubernetes, set);
            let pod = set.pod.clone().unwrap_or_default();
            let text = match &pod.template {
                Some(file) => Some(tokio::fs::read_to_string(file).await.map_err(|error| Error::Config {
                    key: format!("sets.{index}.pod.template"),
                    detail: format!("{} cannot be read: {error}", file.display()),
                })?),
                None => None,
            };
            let template = Template::new(text.as_deref(), &ours).map_err(|wrong| wrong.of_set(index))?;
            let pending_timeout = pod.pending_timeout;
            let made = Set {
                template,
                pending_timeout,
            };
            sets.insert(Arc::from(set.name.as_str()), made);
        }
        let me = Uuid::new_v4().to_string();
        let (events, told) = Events::new(namespace, &me);
        let pods = Arc::new(Self {
            api: Api::namespaced(client.clone(), namespace),
            fleet,
            events,
            demand,
            sets,
            release: kubernetes.lease.clone(),
            scheme: if config.tls.is_some() { "https" } else { "http" },
            port: kubernetes.port,
            state: Mutex::new(State {
                term: Err("the Lease of the release was not read yet".to_owned()),
                watched: Err("the pods were not listed yet".to_owned()),
                in_flight: HashSet::new(),
                deleting: HashSet::new(),
            }),
            poked: Notify::new(),
            relist: Notify::new(),
            stop,
            tasks: TaskTracker::new(),
        });
        let written = events::write(Api::namespaced(client.clone(), namespace), told);
        let stopped = pods.stop.clone();
        pods.tasks.spawn(async move {
            stopped.run_until_cancelled(written).await;
        });
        let candidate = Candidate::new(Api::namespaced(client, namespace), &pods.release, &me);
        info!(namespace, release = pods.release, server = me, "executors are pods");
        let campaigning = Arc::clone(&pods);
        pods.tasks.spawn(async move { campaigning.campaign(candidate).await });
        let watching = Arc::clone(&pods);
        pods.tasks.spawn(async move {
            watching.stop.run_until_cancelled(watching.watch()).await;
        });
        Ok(pods)
    }

    /// What the queries of the other servers want, where this one decides; else why it does not.
    pub(super) fn standing(&self) -> std::result::Result<Wants, String> {
        let state = self.state();
        let (term, asked) = state.term.as_ref().map_err(Clone::clone)?;
        state.watched.as_ref().map_err(Clone::clone)?;
        if !term.holds {
            return Err(format!("server {} of this release decides", term.holder));
        }
        if asked.elapsed() > TRUSTED_FOR {
            return Err("the Lease of the release could not be renewed".to_owned());
        }
        Ok(term.others.clone())
    }

    /// What queries want has changed.
    pub(super) fn poke(&self) {
        let holds = matches!(&self.state().term, Ok((term, _)) if term.holds);
        if !holds {
            self.poked.notify_one();
        }
    }

    /// So many pods of `set` that has `there` are created now, and those named are asked to end.
    pub(super) fn scaled(&self, (set, there): (&str, usize), start: usize, stop: &[String], reason: &str) {
        if start > 0 {
            let note = format!("set {set} has {there} executors, {start} are started: {reason}");
            self.tell(Reason::ScaledUp, &note);
        }
        if !stop.is_empty() {
            let stop = stop.join(", ");
            let note = format!("set {set} has {there} executors, these are asked to end: {stop}: {reason}");
            self.tell(Reason::ScaledDown, &note);
        }
    }

    /// Creates one for `set`. Its name is chosen once: however often the API server is asked, there is one.
    pub(super) fn start(self: &Arc<Self>, set: &Arc<str>, reason: &str) {
        let name = format!("{}-{set}-{}", self.release, &Uuid::new_v4().simple().to_string()[..8]);
        let pod = {
            let mut state = self.state();
            let (Some(made), Ok((term, _))) = (self.sets.get(set), &state.term) else {
                return;
            };
            let pod = made.template.pod(&name, term.owner.clone());
            state.in_flight.insert(name.clone());
            pod
        };
        self.fleet.started(&name, set, reason);
        let (pods, set) = (Arc::clone(self), Arc::clone(set));
        self.tasks.spawn(async move {
            pods.stop.run_until_cancelled(pods.create(&name, &set, &pod)).await;
            pods.state().in_flight.remove(&name);
        });
    }

    /// Deletes `name`: its executor is asked to end, finishes what it has, and does.
    pub(super) fn stop(self: &Arc<Self>, name: &str, reason: &str) {
        self.fleet.leaves(name, reason);
        self.sweep(name);
    }

    /// Gives up pods that take too long to be ready.
    pub(super) fn give_up(self: &Arc<Self>) {
        for (name, started) in self.fleet.all() {
            let Some(set) = self.sets.get(&started.set) else {
                continue;
            };
            let over = started
                .since
                .elapsed()
                .is_ok_and(|waited| waited >= set.pending_timeout);
            if started.address.is_some() || started.leaving || !over {
                continue;
            }
            let timeout = set.pending_timeout;
            let why = format!("pod {name} was given up after {timeout:?}: {}", started.reason);
            warn!(pod = name, why, "a pod is deleted, since it does not get ready");
            self.tell(Reason::FailedStart, &why);
            self.fleet.failed(&started.set, &why);
            self.stop(&name, &why);
        }
    }

    /// Ends everything here. The pods stay, for the next server.
    pub(super) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn create(&self, name: &str, set: &Arc<str>, pod: &Pod) {
        loop {
            match within(self.api.create(&PostParams::default(), pod)).await {
                Ok(_) | Err(Failure::Exists) => return,
                Err(refused @ (Failure::Refused(_) | Failure::Missing(_))) => {
                    warn!(pod = name, why = refused.why(), "a pod is not created");
                    self.tell(Reason::FailedCreate, refused.why());
                    self.fleet.ended(name);
                    self.fleet.failed(set, refused.why());
                    return;
                }
                // It may be there. Nobody else knows its name, and it counts as there.
                Err(unknown) => {
                    warn!(pod = name, why = unknown.why(), "a pod may not be created");
                    self.fleet.explain(name, unknown.why());
                }
            }
            loop {
                tokio::time::sleep(RETRY).await;
                if self.fleet.all().get(name).is_none_or(|started| started.leaving) {
                    return;
                }
                if self.standing().is_ok() {
                    break;
                }
                if matches!(&self.state().term, Ok((term, _)) if !term.holds) {
                    // Another server decides by now: whether the pod is there is seen when they are listed.
                    self.relist.notify_one();
                    return;
                }
            }
        }
    }

    /// Deletes the pod `name`, which has ended or is to end.
    fn sweep(self: &Arc<Self>, name: &str) {
        if !self.state().deleting.insert(name.to_owned()) {
            return;
        }
        let (pods, name) = (Arc::clone(self), name.to_owned());
        self.tasks.spawn(async move {
            pods.stop.run_until_cancelled(pods.delete(&name)).await;
            pods.state().deleting.remove(&name);
        });
    }

    async fn delete(&self, name: &str) {
        let mut told = None;
        loop {
            // What is not settled yet would come after its deletion.
            if !self.state().in_flight.contains(name) {
                match within(self.api.delete(name, &DeleteParams::default())).await {
                    Ok(_) => return,
                    Err(Failure::Missing(_)) => return self.fleet.ended(name),
                    Err(failure) => {
                        let why = format!("it is not deleted: {}", failure.why());
                        if told.as_ref() != Some(&why) {
                            warn!(pod = name, why, "a pod is not deleted");
                            self.fleet.explain(name, &why);
                        }
                        told = Some(why);
                    }
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Looks at the Lease, again and again, and gives it back at the end.
    async fn campaign(&self, mut candidate: Candidate) {
        loop {
            let wants = self.sets.keys().map(|set| (set.to_string(), self.demand.of(set)));
            let wants: Wants = wants.collect();
            let asked = Instant::now();
            let Some(looked) = self.stop.run_until_cancelled(candidate.look(&wants)).await else {
                break;
            };
            self.looked(looked.map(|term| (term, asked)));
            let stopped = self.stop.run_until_cancelled(async {
                tokio::time::sleep(INTERVAL_MIN).await;
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL - INTERVAL_MIN) => {}
                    () = self.poked.notified() => {}
                }
            });
            if stopped.await.is_none() {
                break;
            }
        }
        if let Err(failure) = candidate.resign().await {
            info!(why = failure.why(), "the Lease of the release is left to run out");
        }
    }

    fn looked(&self, looked: std::result::Result<(Term, Instant), Failure>) {
        let mut state = self.state();
        let held = matches!(&state.term, Ok((term, _)) if term.holds);
        match looked {
            Ok((term, asked)) => {
                if term.holds && !held {
                    info!(
                        release = self.release,
                        "this server decides how many executors there are"
                    );
                    self.events.tell(
                        &term.owner,
                        Reason::LeaderElection,
                        "this server decides how many executors there are",
                    );
                    // What another one did is not known here yet.
                    state.watched = Err("the pods are listed".to_owned());
                    self.relist.notify_one();
                }
                if !term.holds && held {
                    warn!(
                        holder = term.holder,
                        "another server decides how many executors there are"
                    );
                }
                state.term = Ok((term, asked));
            }
            Err(failure) => {
                let why = failure.why().to_owned();
                if state.term.as_ref().err() != Some(&why) {
                    warn!(why, "no executors are started or ended: the Lease cannot be renewed");
                }
                state.term = Err(why);
                self.relist.notify_one();
            }
        }
    }

    /// Writes an Event, where this server is the one that decides: one of them is enough.
    fn tell(&self, reason: Reason, note: &str) {
        if let Ok((term, _)) = &self.state().term
            && term.holds
        {
            self.events.tell(&term.owner, reason, note);
        }
    }

    fn holds(&self) -> bool {
        matches!(&self.state().term, Ok((term, _)) if term.holds)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Pods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pods")
            .field("release", &self.release)
            .finish_non_exhaustive()
    }
}

/// A client of the API server, and the namespace to work in.
async fn connect(kubernetes: &KubernetesConfig) -> Result<(kube::Client, String)> {
    let wrong = |key: &str, detail: String| Error::Config {
        key: format!("mode.{key}"),
        detail,
    };
    let mut config = match &kubernetes.kubeconfig {
        Some(file) => {
            let unusable = |error| wrong("kubeconfig", format!("{} cannot be used: {error}", file.display()));
            let read = Kubeconfig::read_from(file).map_err(unusable)?;
            let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
            config.map_err(unusable)?
        }
        None => kube::Config::incluster().map_err(|error| {
            let detail = format!("must be given outside of a cluster: the server has no service account ({error})");
            wrong("kubeconfig", detail)
        })?,
    };
    config.connect_timeout = Some(CALL_TIMEOUT);
    // Calls are repeated here, where it is known what they are about.
    config.default_retry = false;
    let namespace = kubernetes
        .namespace
        .clone()
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = kube::Client::try_from(config);
    let client = client.map_err(|error| wrong("kubeconfig", format!("gives no usable connection: {error}")))?;
    Ok((client, namespace))
}

/// The answer of the API server, if it comes soon.
async fn within<T>(call: impl Future<Output = kube::Result<T>>) -> std::result::Result<T, Failure> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(|error| failure(&error)),
        Err(_) => Err(Failure::Unknown(format!(
            "the API server cannot be reached: no answer within {CALL_TIMEOUT:?}"
        ))),
    }
}
