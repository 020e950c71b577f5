//! Sets of executors that this server starts and ends by itself: how many there may be, and when.

use std::collections::HashSet;
use std::time::Duration;

use serde::Deserialize;

use super::{EXECUTORS_MAX, PodConfig, invalid};
use crate::error::Result;

/// The set of those who name none, where none is configured.
const DEFAULT_NAME: &str = "default";
/// A longer name does not fit into the name of a pod and the value of a label.
const NAME_CHARS_MAX: usize = 32;

/// One set of executors that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SetConfig {
    /// Its name in settings, tables and logs; lower-case letters, digits and `-`.
    pub name: String,
    /// Executors that are always there, default 0. Higher answers the first big query sooner and costs while nobody
    /// asks.
    pub min: usize,
    /// Executors to begin with, default 0: those above `min` go when they are idle.
    pub initial: usize,
    /// Executors there may be, default 4. Higher makes bursts faster and dearer.
    pub max: usize,
    /// Tasks that one executor is meant to run at once, default 2. Higher wants fewer executors for the same queries.
    pub tasks_per_executor: usize,
    /// How long an executor may have nothing to do before it ends, default 60 s.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Time between two rounds in which executors are added, each twice as many as the one before; default 1 s.
    #[serde(with = "humantime_serde")]
    pub round: Duration,
    /// How long after executors were added none is ended, default 10 s.
    #[serde(with = "humantime_serde")]
    pub cool_down: Duration,
    /// Executor-seconds that the set may cost in each `budget_period`; none are started once they are spent. Default:
    /// no limit.
    pub budget_seconds: Option<u64>,
    /// The period of the budget, default 1 h.
    #[serde(with = "humantime_serde")]
    pub budget_period: Duration,
    /// How long a query waits for the first executor of the set, default 2 min.
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// What its pods look like; only for mode `kubernetes`.
    pub pod: Option<PodConfig>,
}

impl Default for SetConfig {
    fn default() -> Self {
        Self {
            name: DEFAULT_NAME.to_owned(),
            min: 0,
            initial: 0,
            max: 4,
            tasks_per_executor: 2,
            idle_timeout: Duration::from_secs(60),
            round: Duration::from_secs(1),
            cool_down: Duration::from_secs(10),
            budget_seconds: None,
            budget_period: Duration::from_secs(60 * 60),
            start_timeout: Duration::from_secs(120),
            pod: None,
        }
    }
}

/// Checks what the types cannot.
pub(super) fn validate(sets: &[SetConfig], pods: bool) -> Result<()> {
    let mut names = HashSet::new();
    let mut all = 0;
    for (index, set) in sets.iter().enumerate() {
        let wrong = |key: &str, detail: &str| invalid(&format!("sets.{index}.{key}"), detail);
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edge = |c: char| c == '-';
        if !(1..=NAME_CHARS_MAX).contains(&set.name.len()) || !set.name.chars().all(plain) {
            return wrong("name", "must be of lower-case letters, digits and -, at most 32");
        }
        if set.name.starts_with(edge) || set.name.ends_with(edge) {
            return wrong("name", "must begin and end with a letter or digit");
        }
        if !names.insert(&set.name) {
            return wrong("name", &format!("there are two sets \"{}\"", set.name));
        }
        all += set.max;
        if set.max == 0 || all > EXECUTORS_MAX {
            return wrong(
                "max",
                &format!("must be at least 1, and at most {EXECUTORS_MAX} in all sets"),
            );
        }
        if set.min > set.max {
            return wrong("min", "must be at most max");
        }
        if set.initial > set.max {
            return wrong("initial", "must be at most max");
        }
        if set.tasks_per_executor == 0 {
            return wrong("tasks_per_executor", "must be at least 1");
        }
        if set.round.is_zero() {
            return wrong("round", "must be longer than 0");
        }
        if set.budget_period.is_zero() {
            return wrong("budget_period", "must be longer than 0");
        }
        let Some(pod) = &set.pod else { continue };
        if !pods {
            return wrong("pod", "is for mode.type = \"kubernetes\"");
        }
        if pod.memory_bytes == Some(0) {
            return wrong("pod.memory_bytes", "must be at least 1");
        }
        if pod.memory_bytes.is_none() && pod.memory_overhead_bytes.is_some() {
            return wrong("pod.memory_overhead_bytes", "needs memory_bytes");
        }
        if pod.scratch_bytes == Some(0) {
            return wrong("pod.scratch_bytes", "must be at least 1");
        }
        if pod.pending_timeout.is_zero() {
            return wrong("pod.pending_timeout", "must be longer than 0");
        }
    }
    Ok(())
}
