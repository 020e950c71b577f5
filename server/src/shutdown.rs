//! How a process stops, and the only place that knows the order: the first signal asks, the second insists.
//!
//! ```text
//! signal -> stop accepting -> calls finish, at most `grace` -> end queries -> cancel what is left -> join
//! ```

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::error::{Error, Result};

/// The conventional exit code of a process that Ctrl-C ended: 128 + SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// How long clients may take to hear why their calls ended.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(2);
/// How long cancelled tasks may take to let go of what they hold.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// SIGTERM and SIGINT (Ctrl-C), which ask a process to stop, and SIGUSR1, which takes that back; from the moment of
/// [`Signals::listen`] on.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    go_on: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To stop.
    Stop,
    /// Not to stop, after all.
    GoOn,
}

impl Signals {
    /// Takes the signals over from the operating system.
    pub fn listen() -> Result<Self> {
        let listen = |kind| {
            signal(kind).map_err(|source| Error::Io {
                action: "receive stop signals".to_owned(),
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            go_on: listen(SignalKind::user_defined1())?,
        })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.go_on.recv() => Told::GoOn,
        }
    }

    /// Waits until the process is asked to stop.
    pub async fn received(&mut self) {
        while self.next().await != Told::Stop {}
    }

    /// Completes `stopping`, unless another signal comes first: that one ends the process at once.
    pub async fn insist<T>(&mut self, stopping: impl Future<Output = T>) -> T {
        tokio::select! {
            output = stopping => output,
            () = self.received() => end_at_once(),
        }
    }
}

/// Ends the process without a word, as its second signal asks for.
pub fn end_at_once() -> ! {
    std::process::exit(EXIT_INTERRUPTED)
}

/// The long-lived tasks of an application and the two steps in which they end. Cheap to clone.
#[derive(Debug, Clone, Default)]
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

    /// Runs `task`, which never ends by itself, until nothing new may begin.
    pub(crate) fn spawn_until_stop(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop();
        self.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Cancelled when nothing new may begin.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins nothing new, lets everything finish within `grace`; then lets `end` end what goes on, cancels what does so all
    /// the same, and waits for it.
    pub(crate) async fn finish(&self, grace: Duration, end: impl FnOnce()) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait()).await.is_err() {
            warn!(grace = ?grace, "ending what still runs");
            end();
            if tokio::time::timeout(LAST_WORDS_TIMEOUT, self.tasks.wait())
                .await
                .is_err()
            {
                warn!("cancelling what did not end");
            }
        }
        self.cancel.cancel();
        if tokio::time::timeout(CANCEL_TIMEOUT, self.tasks.wait()).await.is_err() {
            warn!("some tasks did not end when they were cancelled");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::future::pending;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_ends_by_itself_is_not_cancelled() {
        let lifecycle = Lifecycle::default();
        let (stop, ended) = (lifecycle.stop(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&ended);
        lifecycle.spawn(async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            seen.store(true, Ordering::Relaxed);
        });
        lifecycle
            .finish(Duration::from_secs(60), || panic!("it ended by itself"))
            .await;
        assert!(ended.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn what_does_not_end_is_cancelled_after_the_grace_period() {
        let lifecycle = Lifecycle::default();
        let held = Arc::new(());
        let holder = Arc::clone(&held);
        lifecycle.spawn(async move {
            let _holder = holder;
            pending::<()>().await;
        });
        let mut is_told = false;
        lifecycle.finish(Duration::from_millis(10), || is_told = true).await;
        assert_eq!((Arc::strong_count(&held), is_told), (1, true));
    }
}
