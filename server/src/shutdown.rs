//! How a process stops, and the only place that knows the order: the first signal asks, the second insists.
//!
//! ```text
//! signal -> stop accepting -> calls finish, at most `grace` -> cancel what is left -> join
//! ```

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

/// The conventional exit code of a process that Ctrl-C ended: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// How long cancelled tasks may take to let go of what they hold.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT (Ctrl-C), from the moment of [`Signals::listen`] on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes both signals over from the operating system.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Completes `stopping`, unless another signal comes first: that one ends the process at once.
    pub async fn insist<T>(&mut self, stopping: impl Future<Output = T>) -> T {
        tokio::select! {
            output = stopping => output,
            () = self.received() => std::process::exit(EXIT_INTERRUPTED),
        }
    }
}

/// The long-lived tasks of an application and the two steps in which they end.
#[derive(Debug, Default)]
pub(crate) struct Lifecycle {
    tasks: TaskTracker,
    stop: CancellationToken,
    cancel: CancellationToken,
}

impl Lifecycle {
    /// Runs `task` until it ends or is cancelled.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            cancel.run_until_cancelled(task).await;
        });
    }

    /// Cancelled when nothing new may begin.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins nothing new, lets everything finish within `grace`, then cancels the rest and waits for it.
    pub(crate) async fn finish(&self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(grace = ?grace, "cancelling what still runs");
        }
        self.cancel.cancel();
        if tokio::time::timeout(CANCEL_TIMEOUT, self.tasks.wait()).await.is_err() {
            warn!("some tasks did not end when they were cancelled");
        }
    }
}
