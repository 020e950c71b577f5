//! Keeps the fleet as the API server tells it: a list, and from then on each change.

use std::collections::HashSet;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tracing::{info, warn};
use url::Url;

use super::events::Reason;
use super::meaning::{Failure, Meaning, failure, meaning};
use super::{MANAGED, MANAGER, Pods, RELEASE, RETRY, SET, within};

impl Pods {
    /// For ever. Pods that were there before are adopted.
    pub(super) async fn watch(self: &Arc<Self>) {
        loop {
            tokio::select! {
                listened = self.listen() => if let Err(failure) = listened {
                    self.deaf(failure.why());
                },
                () = self.relist.notified() => {
                    self.deaf("the pods are listed again");
                    continue;
                }
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn deaf(&self, why: &str) {
        let before = std::mem::replace(&mut self.state().watched, Err(why.to_owned()));
        if before.is_ok() {
            warn!(why, "no executors are started or ended: the pods are not watched");
        }
    }

    /// One list and the changes after it, until the API server ends that.
    async fn listen(self: &Arc<Self>) -> Result<(), Failure> {
        let selector = format!("{MANAGED}={MANAGER},{RELEASE}={}", self.release);
        // Whatever is on its way now may be missing in the list and come all the same.
        let settled: Vec<String> = {
            let all = self.fleet.all();
            let state = self.state();
            all.into_keys().filter(|name| !state.in_flight.contains(name)).collect()
        };
        let list = within(self.api.list(&ListParams::default().labels(&selector))).await?;
        let there: HashSet<&str> = list
            .items
            .iter()
            .filter_map(|pod| pod.metadata.name.as_deref())
            .collect();
        for name in settled.iter().filter(|name| !there.contains(name.as_str())) {
            self.fleet.ended(name);
        }
        list.items.iter().for_each(|pod| self.seen(pod));
        let version = list.metadata.resource_version.unwrap_or_default();
        let params = WatchParams::default().labels(&selector);
        let mut events = pin!(within(self.api.watch(&params, &version)).await?);
        self.state().watched = Ok(());
        while let Some(event) = events.next().await {
            match event.map_err(|error| failure(&error))? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.seen(&pod),
                WatchEvent::Deleted(pod) => {
                    if let Some(name) = &pod.metadata.name {
                        info!(pod = name, "a pod is gone");
                        self.fleet.ended(name);
                    }
                }
                WatchEvent::Bookmark(_) => {}
                // What it remembers is too old: the pods are listed again.
                WatchEvent::Error(_) => return Ok(()),
            }
        }
        Ok(())
    }

    fn seen(self: &Arc<Self>, pod: &Pod) {
        let Some(name) = pod.metadata.name.as_deref() else {
            return;
        };
        let set = pod.metadata.labels.as_ref().and_then(|labels| labels.get(SET));
        let known = set.and_then(|set| self.sets.get_key_value(set.as_str()));
        let Some((set, _)) = known else {
            if self.holds() {
                info!(pod = name, "a pod is deleted: its set is not configured any more");
                self.sweep(name);
            }
            return;
        };
        let meaning = meaning(pod);
        let told = self.fleet.all().get(name).map(|started| started.reason.clone());
        if told.is_none() && !matches!(meaning, Meaning::Ended(_)) {
            info!(pod = name, "a pod is adopted");
            self.fleet.comes(name, set, "another server of this release created it");
        }
        match meaning {
            Meaning::Coming(None) => {}
            Meaning::Coming(Some(why)) => self.fleet.explain(name, &why),
            Meaning::Stuck(why) => {
                if told.as_ref() != Some(&why) {
                    warn!(pod = name, why, "a pod does not start");
                    self.tell(Reason::FailedStart, &why);
                    self.fleet.explain(name, &why);
                    self.fleet.failed(set, &why);
                }
            }
            Meaning::Runs(ip) => match self.address(&ip) {
                Some(address) => self.fleet.listens(name, address),
                None => self.fleet.explain(name, &format!("its address {ip} is none")),
            },
            Meaning::Leaves(why) => {
                if !self.fleet.all().get(name).is_some_and(|started| started.leaving) {
                    info!(pod = name, why, "an executor pod leaves");
                    self.tell(Reason::Draining, &why);
                }
                self.fleet.leaves(name, &why);
            }
            Meaning::Ended(why) => {
                if told.is_some()
                    && let Some(why) = why
                {
                    warn!(pod = name, why, "an executor pod ended by itself");
                    self.tell(Reason::Failed, &why);
                    self.fleet.failed(set, &why);
                }
                self.fleet.ended(name);
                if self.holds() {
                    self.sweep(name);
                }
            }
        }
    }

    fn address(&self, ip: &str) -> Option<Url> {
        let host = if ip.contains(':') {
            format!("[{ip}]")
        } else {
            ip.to_owned()
        };
        Url::parse(&format!("{}://{host}:{}", self.scheme, self.port)).ok()
    }
}
