//! Executors inside this process: real sockets on loopback, one shared memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::config::{Config, ExecutorConfig};
use crate::error::{Error, Result};
use crate::process::Executor;
use crate::process::memory::Memory;

/// Running executors; dropping it ends them like [`InProcess::shutdown`], without waiting.
#[derive(Debug)]
pub(super) struct InProcess {
    addresses: Vec<Url>,
    tasks: TaskTracker,
    draining: watch::Sender<bool>,
}

impl InProcess {
    /// Starts `count` executors on free ports.
    pub(super) async fn start(count: usize, config: &Config, memory: &Arc<Memory>) -> Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let executor_config = ExecutorConfig {
            listen,
            connect_timeout: config.connect_timeout,
            keep_alive: config.keep_alive,
            grace: config.grace,
            ..ExecutorConfig::default()
        };
        let mut in_process = Self {
            addresses: Vec::with_capacity(count),
            tasks: TaskTracker::new(),
            draining: watch::Sender::new(false),
        };
        for _ in 0..count {
            let executor = Executor::with_memory(&executor_config, Arc::clone(memory)).await?;
            in_process.addresses.push(loopback(executor.local_addr())?);
            let draining = in_process.draining.subscribe();
            in_process.tasks.spawn(async move {
                if let Err(error) = executor.serve(draining).await {
                    tracing::error!(%error, "an executor inside this process ended");
                }
            });
        }
        in_process.tasks.close();
        Ok(in_process)
    }

    pub(super) fn addresses(&self) -> &[Url] {
        &self.addresses
    }

    /// Stops accepting, lets running queries end within the grace period, cuts the others.
    pub(super) async fn shutdown(&self) {
        self.draining.send_replace(true);
        self.tasks.wait().await;
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        self.draining.send_replace(true);
    }
}

fn loopback(address: SocketAddr) -> Result<Url> {
    Url::parse(&format!("http://{address}")).map_err(|error| Error::Unreachable {
        address: address.to_string(),
        reason: error.to_string(),
    })
}
