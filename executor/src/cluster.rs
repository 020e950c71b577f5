//! The executors alive now, and the connections to them. Knows neither plans nor how they run.

pub(crate) mod channel;
mod fixed;

use std::sync::Arc;

use datafusion::execution::runtime_env::RuntimeEnv;
use url::Url;

use crate::config::{Config, Mode};
use crate::error::Result;

use channel::Channels;
use fixed::InProcess;

/// The executors of one server.
#[derive(Debug)]
pub(crate) struct Cluster {
    addresses: Vec<Url>,
    channels: Arc<Channels>,
    in_process: Option<InProcess>,
}

impl Cluster {
    /// The executors that `config` names; those inside this process are started, with `runtime` for their tasks.
    /// `None` where there are none to be.
    pub(crate) async fn start(config: &Config, runtime: &Arc<RuntimeEnv>) -> Result<Option<Self>> {
        let (addresses, in_process) = match &config.mode {
            Mode::Embedded => return Ok(None),
            Mode::InProcess { count } => {
                let started = InProcess::start(*count, config, runtime).await?;
                (started.addresses().to_vec(), Some(started))
            }
            Mode::Static { addresses } => (addresses.clone(), None),
        };
        let channels = Channels::new(config.links(), addresses.len());
        Ok(Some(Self {
            addresses,
            channels,
            in_process,
        }))
    }

    /// Where the executors are.
    pub(crate) fn addresses(&self) -> &[Url] {
        &self.addresses
    }

    /// The connections to them.
    pub(crate) fn channels(&self) -> &Arc<Channels> {
        &self.channels
    }

    /// Ends the executors inside this process, once their queries ended or the grace period is over. Leaves others
    /// alone.
    pub(crate) async fn shutdown(&self) {
        if let Some(in_process) = &self.in_process {
            in_process.shutdown().await;
        }
    }
}
