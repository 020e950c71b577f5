//! The executors alive now, and the connections to them. Knows neither plans nor how they run.

pub(crate) mod channel;
mod fixed;
pub(crate) mod members;
pub(crate) mod probe;
pub(crate) mod tls;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use url::Url;

use crate::config::{Config, EXECUTORS_MAX, Mode};
use crate::error::Result;
use crate::process::memory::Memory;

use channel::Channels;
use fixed::InProcess;
use members::{Members, Peer};
use probe::Found;

/// The executors of one server.
#[derive(Debug)]
pub(crate) struct Cluster {
    members: Arc<Members>,
    channels: Arc<Channels>,
    wait: Duration,
    in_process: Option<InProcess>,
    _probing: SpawnedTask<()>,
}

impl Cluster {
    /// The executors that `config` names; those inside this process are started, with `memory` for their tasks.
    /// `None` where there are none to be. From now on each of them is asked every moment whether it lives.
    pub(crate) async fn start(config: &Config, memory: &Arc<Memory>) -> Result<Option<Self>> {
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
        };
        // Executors inside this process listen on this machine only.
        let tls = config.tls.as_ref().filter(|_| in_process.is_none());
        let channels = Channels::new(config.links(), tls, EXECUTORS_MAX)?;
        let members = Arc::new(Members::default());
        if let Found::Listed(addresses) = &found {
            members.set(addresses);
        }
        let probing = probe::supervise(Arc::clone(&members), Arc::clone(&channels), found, config.lost_after);
        Ok(Some(Self {
            members,
            channels,
            wait: config.executors_wait,
            in_process,
            _probing: SpawnedTask::spawn(probing),
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

    /// Ends the executors inside this process, once their queries ended or the grace period is over. Leaves others
    /// alone.
    pub(crate) async fn shutdown(&self) {
        if let Some(in_process) = &self.in_process {
            in_process.shutdown().await;
        }
    }
}
