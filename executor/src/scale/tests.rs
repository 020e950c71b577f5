//! What is started and stopped, when, and what is said about it.

use super::*;

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits() -> SetConfig {
    SetConfig {
        max: 16,
        tasks_per_executor: 2,
        idle_timeout: s(60),
        round: s(1),
        cool_down: s(5),
        ..SetConfig::default()
    }
}

fn executors(phases: &[Phase]) -> Vec<ExecutorLoad> {
    let named = phases.iter().zip('a'..).map(|(phase, name)| ExecutorLoad {
        name: name.to_string(),
        phase: phase.clone(),
    });
    named.collect()
}

/// A set that has decided before, at 0, and found that all was well.
fn load(phases: &[Phase], waiting: usize, tasks: usize) -> Load {
    let history = decide(&Load::default(), &SetConfig { min: 0, ..limits() }, s(0)).history;
    Load {
        executors: executors(phases),
        waiting,
        tasks,
        blocked: None,
        history,
    }
}

/// Decides every half second, where what is started is ready at the next decision: how many there are then.
fn run(load: &mut Load, limits: &SetConfig, from: u64, to: u64) -> Vec<usize> {
    let mut counts = Vec::new();
    for half in from * 2..to * 2 {
        let now = Duration::from_millis(half * 500);
        let decision = decide(load, limits, now);
        load.executors.retain(|one| !decision.stop.contains(&one.name));
        for _ in 0..decision.start {
            let name = format!("{half}-{}", load.executors.len());
            let phase = Phase::Busy;
            load.executors.push(ExecutorLoad { name, phase });
        }
        load.history = decision.history;
        counts.push(load.executors.len());
    }
    counts
}

#[test]
fn executors_double_while_the_backlog_lasts() {
    let mut burst = load(&[], 30, 120);
    let counts = run(&mut burst, &limits(), 1, 7);
    assert_eq!(counts, [1, 1, 3, 3, 7, 7, 15, 15, 16, 16, 16, 16]);
    // Never more than are wanted, and from one again after that.
    let mut small = load(&[], 2, 8);
    assert_eq!(run(&mut small, &limits(), 1, 4), [1, 1, 3, 3, 4, 4]);
    small.tasks = 16;
    assert_eq!(run(&mut small, &limits(), 4, 6), [5, 5, 7, 7]);
}

#[test]
fn what_is_on_its_way_counts() {
    let check = |phases: &[Phase], tasks: usize, expect: usize| {
        let decision = decide(&load(phases, 1, tasks), &limits(), s(10));
        assert_eq!(
            decision.start, expect,
            "{phases:?} for {tasks} tasks: {}",
            decision.reason
        );
        assert!(decision.stop.is_empty(), "{decision:?}");
    };
    check(&[], 0, 1);
    check(&[], 1, 1);
    check(&[Phase::Starting], 2, 0);
    check(&[Phase::Starting], 3, 1);
    check(&[Phase::Busy, Phase::Starting], 4, 0);
    check(&[Phase::Leaving], 2, 1);
    check(&[Phase::Idle(s(9))], 2, 0);
}

#[test]
fn minimum_and_initial_come_at_once() {
    let set = SetConfig {
        min: 2,
        initial: 5,
        ..limits()
    };
    let first = decide(&Load::default(), &set, s(0));
    assert_eq!((first.start, first.reason), (5, Reason::Minimum { count: 5 }));
    let mut load = load(&[], 0, 0);
    load.history = first.history;
    let later = decide(&load, &set, s(10));
    assert_eq!((later.start, later.reason), (2, Reason::Minimum { count: 2 }));
    load.executors = executors(&[Phase::Idle(s(0)); 1]);
    assert_eq!(decide(&load, &set, s(100)).start, 1);
    load.executors = executors(&[Phase::Idle(s(0)), Phase::Idle(s(0))]);
    let decision = decide(&load, &set, s(1000));
    assert_eq!((decision.start, decision.stop), (0, Vec::<String>::new()));
}

#[test]
fn the_longest_idle_go_first_and_nobody_who_works() {
    let check = |phases: &[Phase], tasks: usize, set: SetConfig, expect: &[&str]| {
        let decision = decide(&load(phases, 0, tasks), &set, s(100));
        assert_eq!(decision.stop, expect, "{phases:?}: {}", decision.reason);
        assert_eq!(decision.start, 0);
    };
    let idle = |since| Phase::Idle(s(since));
    check(&[idle(50), idle(20), idle(39)], 0, limits(), &["b", "c"]);
    check(&[Phase::Busy, idle(20)], 0, limits(), &["b"]);
    check(&[Phase::Busy, Phase::Busy], 0, limits(), &[]);
    // What is wanted stays, however idle.
    check(&[idle(0), idle(1), idle(2)], 4, limits(), &["a"]);
    check(&[idle(0), idle(1), idle(2)], 6, limits(), &[]);
    check(
        &[idle(0), idle(1), idle(2)],
        0,
        SetConfig { min: 2, ..limits() },
        &["a"],
    );
    // What has not begun is not needed any more.
    check(&[Phase::Starting, Phase::Starting, Phase::Busy], 4, limits(), &["a"]);
    // More than may be: those without work, at once.
    let smaller = SetConfig { max: 1, ..limits() };
    check(&[Phase::Busy, Phase::Busy, idle(99)], 9, smaller, &["c"]);
}

#[test]
fn nothing_goes_right_after_something_came() {
    let mut load = load(&[], 1, 1);
    let grown = decide(&load, &limits(), s(100));
    assert_eq!(grown.start, 1);
    load.history = grown.history;
    (load.waiting, load.tasks) = (0, 0);
    load.executors = executors(&[Phase::Starting]);
    assert!(decide(&load, &limits(), s(104)).stop.is_empty());
    let decision = decide(&load, &limits(), s(105));
    assert_eq!(decision.stop, ["a"]);
    assert_eq!(decision.reason, Reason::Unwanted { wanted: 0 });
}

#[test]
fn a_budget_ends_growth_until_its_period_does() {
    let set = SetConfig {
        budget_seconds: Some(100),
        budget_period: s(1000),
        ..limits()
    };
    let mut load = load(&[Phase::Busy, Phase::Busy], 1, 40);
    let spent = |load: &mut Load, now| {
        let decision = decide(load, &set, s(now));
        load.history = decision.history.clone();
        decision
    };
    assert_eq!(spent(&mut load, 1).start, 1);
    let over = spent(&mut load, 51);
    assert_eq!(over.start, 0);
    assert!(
        over.reason.to_string().contains("100 executor-seconds"),
        "{}",
        over.reason
    );
    assert!(over.stop.is_empty(), "{over:?}");
    assert_eq!(spent(&mut load, 999).start, 0);
    assert_eq!(spent(&mut load, 1001).start, 1);
}

#[test]
fn who_cannot_start_is_not_tried_at_once_again() {
    let mut load = load(&[Phase::Busy], 1, 40);
    load.blocked = Some((s(30), "the quota is exhausted".to_owned()));
    let blocked = decide(&load, &limits(), s(29));
    assert_eq!(blocked.start, 0);
    assert_eq!(blocked.reason.to_string(), "the quota is exhausted");
    assert_eq!(decide(&load, &limits(), s(30)).start, 1);
}

#[test]
fn the_maximum_is_said() {
    let decision = decide(&load(&vec![Phase::Busy; 16], 3, 99), &limits(), s(5));
    assert_eq!((decision.start, decision.wanted), (0, 50));
    assert_eq!(decision.reason, Reason::Maximum { wanted: 50, max: 16 });
    let none = SetConfig { max: 0, ..limits() };
    assert_eq!(decide(&load(&[], 1, 1), &none, s(5)).start, 0);
}
