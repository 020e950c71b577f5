//! How far a table is, on the error stream: one line that changes on a terminal, now and then a line elsewhere.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const TERMINAL_INTERVAL: Duration = Duration::from_millis(200);
const LOG_INTERVAL: Duration = Duration::from_secs(5);

/// The progress of one table.
pub(super) struct Progress {
    name: &'static str,
    rows_expected: u64,
    rows: Arc<AtomicU64>,
    terminal: bool,
}

impl Progress {
    /// Of a table that will have about `rows_expected` rows, of which `rows` counts those that exist.
    pub(super) fn new(name: &'static str, rows_expected: u64, rows: Arc<AtomicU64>) -> Self {
        Self {
            name,
            rows_expected,
            rows,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    /// One line that stays.
    pub(super) fn say(line: &str) {
        eprintln!("{line}");
    }

    /// Shows how far it is until `work` ends.
    pub(super) async fn watch<T>(&self, work: impl Future<Output = T>) -> T {
        let mut interval = tokio::time::interval(if self.terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL });
        interval.tick().await;
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                output = &mut work => return output,
                _ = interval.tick() => self.show(&format!("{} %", self.percent())),
            }
        }
    }

    /// Replaces what was shown by the outcome.
    pub(super) fn finish(&self, outcome: &str) {
        self.show(outcome);
        if self.terminal {
            eprintln!();
        }
    }

    fn show(&self, text: &str) {
        let line = format!("{:<9} {text}", self.name);
        let mut out = std::io::stderr().lock();
        // Whoever closed the error stream does not want to see this.
        _ = if self.terminal {
            write!(out, "\r{line}\x1b[K").and_then(|()| out.flush())
        } else {
            writeln!(out, "{line}")
        };
    }

    /// Below 100 until the table is committed: `rows_expected` may be too low, and the last file takes a moment.
    fn percent(&self) -> u64 {
        (self.rows.load(Ordering::Relaxed) * 100 / self.rows_expected.max(1)).min(99)
    }
}
