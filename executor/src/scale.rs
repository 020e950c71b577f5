//! How many executors there shall be: [`decide`], from what is asked of one set of executors and what it may be. Pure:
//! no clock, no I/O. The rest of this room acts on its decisions.
//!
//! ```text
//!   queries ──► Demand ─┐
//!   executors ─► Fleet ─┴► decide ─► ScaleDecision ─► processes or pods
//! ```

pub(crate) mod autoscaler;
pub(crate) mod demand;
pub(crate) mod fleet;
mod pods;
mod processes;
#[cfg(test)]
mod tests;

use std::fmt;
use std::time::Duration;

use crate::config::SetConfig;

/// What one set of executors looks like at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Load {
    /// Those that are there or on their way.
    pub(crate) executors: Vec<ExecutorLoad>,
    /// Queries that wait for an executor.
    pub(crate) waiting: usize,
    /// Tasks that all queries want to run at once, those that run and those that wait.
    pub(crate) tasks: usize,
    /// Why none can be started, and until when that is not tried again.
    pub(crate) blocked: Option<(Duration, String)>,
    /// What the decision before left.
    pub(crate) history: History,
}

/// One executor as the scaler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ExecutorLoad {
    pub(crate) name: String,
    pub(crate) phase: Phase,
}

/// What an executor is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It takes no tasks yet.
    Starting,
    /// It has tasks, or streams that somebody reads.
    Busy,
    /// It has had nothing to do since then.
    Idle(Duration),
    /// It was told to end. It costs, and is good for nothing.
    Leaving,
}

/// What one decision leaves to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct History {
    /// The time of the decision; none before the first.
    decided: Option<Duration>,
    /// How many the next round starts at most.
    step: usize,
    /// When executors were started last.
    grown: Option<Duration>,
    /// When the present period of the budget began, and the executor-seconds it has cost.
    period: Duration,
    spent: f64,
}

/// What is to be done, and why.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScaleDecision {
    /// So many are to be started.
    pub(crate) start: usize,
    /// These are to take no more tasks and end.
    pub(crate) stop: Vec<String>,
    /// So many would suffice for all that is asked.
    pub(crate) wanted: usize,
    pub(crate) reason: Reason,
    pub(crate) history: History,
}

/// Why a decision is as it is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reason {
    /// There are as many as there should be.
    Enough,
    /// Fewer than `min` were there, or `initial` at the beginning.
    Minimum { count: usize },
    /// More are wanted than there are.
    Backlog {
        waiting: usize,
        tasks: usize,
        wanted: usize,
    },
    /// More are wanted, and the next round has not come.
    NextRound { wanted: usize, within: Duration },
    /// More are wanted than may be.
    Maximum { wanted: usize, max: usize },
    /// The budget of this period is spent.
    Budget { budget: u64, period: Duration },
    /// None can be started for now.
    Blocked { why: String },
    /// Some had nothing to do for so long.
    Idle { timeout: Duration },
    /// Some that have not begun are no longer wanted.
    Unwanted { wanted: usize },
    /// There are more than may be.
    TooMany { max: usize },
}

/// What is to be done for `load` within `limits` at `now`, the time since the scaler began.
///
/// Executors are added by 1, 2, 4, 8 and so on, once a round, while more are wanted. Those that idled longest go first,
/// and none that has a task or a stream. What is on its way counts as there, so nothing is started twice.
pub(crate) fn decide(load: &Load, limits: &SetConfig, now: Duration) -> ScaleDecision {
    let mut history = load.history.clone();
    let first = history.decided.is_none();
    charge(&mut history, load, limits, now);
    let mut leaving: Vec<&ExecutorLoad> = Vec::new();
    let present = load.executors.iter().filter(|one| one.phase != Phase::Leaving).count();
    let asked = load
        .tasks
        .div_ceil(limits.tasks_per_executor.max(1))
        .max(load.waiting.min(1));
    let floor = if first {
        limits.min.max(limits.initial)
    } else {
        limits.min
    };
    let wanted = asked.max(floor);
    let target = wanted.min(limits.max);

    let (start, reason) = if target > present {
        grow(
            load,
            limits,
            now,
            &mut history,
            Shortage {
                present,
                asked,
                target,
                floor,
            },
        )
    } else {
        history.step = 1;
        let (stop, reason) = shrink(load, limits, now, &history, present - target);
        leaving = stop;
        let reason = match reason {
            Reason::Enough if asked > limits.max => Reason::Maximum {
                wanted: asked,
                max: limits.max,
            },
            other => other,
        };
        (0, reason)
    };
    ScaleDecision {
        start,
        stop: leaving.iter().map(|one| one.name.clone()).collect(),
        wanted,
        reason,
        history,
    }
}

/// Adds what the executors have cost since the decision before.
fn charge(history: &mut History, load: &Load, limits: &SetConfig, now: Duration) {
    let since = history.decided.unwrap_or(now);
    if history.decided.is_none() || now.saturating_sub(history.period) >= limits.budget_period {
        (history.period, history.spent) = (now, 0.0);
    }
    let since = since.max(history.period);
    history.spent += now.saturating_sub(since).as_secs_f64() * load.executors.len() as f64;
    history.decided = Some(now);
}

/// How many are missing.
struct Shortage {
    present: usize,
    asked: usize,
    target: usize,
    floor: usize,
}

fn grow(load: &Load, limits: &SetConfig, now: Duration, history: &mut History, shortage: Shortage) -> (usize, Reason) {
    let Shortage {
        present,
        asked,
        target,
        floor,
    } = shortage;
    if let Some((until, why)) = &load.blocked
        && now < *until
    {
        history.step = 1;
        return (0, Reason::Blocked { why: why.clone() });
    }
    if let Some(budget) = limits.budget_seconds
        && history.spent >= budget as f64
    {
        history.step = 1;
        let period = limits.budget_period;
        return (0, Reason::Budget { budget, period });
    }
    let floor = floor.min(limits.max);
    if present < floor && asked <= floor {
        history.grown = Some(now);
        return (floor - present, Reason::Minimum { count: floor });
    }
    let due = history
        .grown
        .filter(|_| history.step > 1)
        .map_or(Duration::ZERO, |grown| grown + limits.round);
    if now < due {
        let within = due - now;
        return (0, Reason::NextRound { wanted: asked, within });
    }
    let start = (target - present).min(history.step.max(1));
    history.step = history.step.max(1).saturating_mul(2);
    history.grown = Some(now);
    let (waiting, tasks) = (load.waiting, load.tasks);
    (
        start,
        Reason::Backlog {
            waiting,
            tasks,
            wanted: asked,
        },
    )
}

/// At most `surplus` executors that may go.
fn shrink<'a>(
    load: &'a Load,
    limits: &SetConfig,
    now: Duration,
    history: &History,
    surplus: usize,
) -> (Vec<&'a ExecutorLoad>, Reason) {
    let present = load.executors.iter().filter(|one| one.phase != Phase::Leaving).count();
    let excess = present.saturating_sub(limits.max);
    let rested = history.grown.is_none_or(|grown| now >= grown + limits.cool_down);
    let mut idle: Vec<(Duration, &ExecutorLoad)> = load
        .executors
        .iter()
        .filter_map(|one| match one.phase {
            Phase::Idle(since) => Some((since, one)),
            _ => None,
        })
        .collect();
    idle.sort_by(|(one, a), (two, b)| one.cmp(two).then_with(|| a.name.cmp(&b.name)));
    let starting = load.executors.iter().filter(|one| one.phase == Phase::Starting);
    if excess > 0 {
        let gone: Vec<_> = starting
            .chain(idle.into_iter().map(|(_, one)| one))
            .take(excess)
            .collect();
        return match gone.is_empty() {
            true => (gone, Reason::Enough),
            false => (gone, Reason::TooMany { max: limits.max }),
        };
    }
    if !rested || surplus == 0 {
        return (Vec::new(), Reason::Enough);
    }
    let unwanted: Vec<_> = starting.take(surplus).collect();
    if !unwanted.is_empty() {
        let wanted = present - surplus;
        return (unwanted, Reason::Unwanted { wanted });
    }
    let timeout = limits.idle_timeout;
    let over = idle.into_iter().filter(|(since, _)| now >= *since + timeout);
    let gone: Vec<_> = over.map(|(_, one)| one).take(surplus).collect();
    match gone.is_empty() {
        true => (gone, Reason::Enough),
        false => (gone, Reason::Idle { timeout }),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Enough => f.write_str("there are as many as needed"),
            Reason::Minimum { count } => write!(f, "at least {count} shall be there"),
            Reason::Backlog { waiting, tasks, wanted } => {
                write!(f, "{waiting} queries wait and {tasks} tasks want {wanted} executors")
            }
            Reason::NextRound { wanted, .. } => {
                write!(f, "{wanted} are wanted, and the next are started in the next round")
            }
            Reason::Maximum { wanted, max } => write!(f, "{wanted} are wanted, and there may be {max}"),
            Reason::Budget { budget, period } => {
                write!(f, "the budget of {budget} executor-seconds for {period:?} is spent")
            }
            Reason::Blocked { why } => f.write_str(why),
            Reason::Idle { timeout } => write!(f, "nothing to do for {timeout:?}"),
            Reason::Unwanted { wanted } => write!(f, "only {wanted} are wanted by now"),
            Reason::TooMany { max } => write!(f, "there may be {max}"),
        }
    }
}
