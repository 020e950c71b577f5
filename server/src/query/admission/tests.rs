//! The order in which queries begin.

#![allow(clippy::unwrap_used, reason = "tests")]

use futures::FutureExt;
use uuid::Uuid;

use super::*;
use crate::query::{Origin, Registry};

fn config(text: &str) -> Config {
    let config: Config = toml(text);
    config.validate().unwrap();
    config
}

fn toml(text: &str) -> Config {
    use figment::providers::{Format, Toml};
    figment::Figment::from(Toml::string(text)).extract().unwrap()
}

/// A query of a user, as far as admission looks at it.
fn query(registry: &Registry, user: &str) -> Arc<RunningQuery> {
    let origin = Origin {
        id: Uuid::now_v7(),
        session_id: None,
        tags: Vec::new(),
    };
    registry.begin(origin, user, "SELECT 1", None).unwrap().share()
}

/// The users of `asked` in the order in which they begin, each ending before the next begins.
async fn order(config: &str, asked: &[&str]) -> Vec<String> {
    let (admission, registry) = (Admission::new(toml(config)), Registry::default());
    let blocker = admission.admit(&query(&registry, "first")).await.unwrap();
    let queries: Vec<_> = asked.iter().map(|user| query(&registry, user)).collect();
    let mut waiting: Vec<_> = queries
        .iter()
        .map(|query| (query.user.clone(), Box::pin(admission.admit(query))))
        .collect();
    for (_, admit) in &mut waiting {
        assert!(admit.now_or_never().is_none());
    }
    drop(blocker);
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let next = waiting.iter_mut().position(|(user, admit)| match admit.now_or_never() {
            Some(permit) => {
                order.push(user.clone());
                permit.is_ok()
            }
            None => false,
        });
        // The permit went with the check above: the next one is in.
        drop(waiting.remove(next.unwrap()));
    }
    order
}

#[tokio::test]
async fn groups_take_turns_by_weight_and_users_inside_come_in_order() {
    let groups = "concurrency_max = 1\n\
                  [[groups]]\nname = \"heavy\"\nusers = [\"h*\"]\nweight = 2\n\
                  [[groups]]\nname = \"light\"\nusers = [\"l*\", \"first\"]";
    let began = order(groups, &["l1", "l2", "l3", "l4", "h1", "h2", "h3", "h4"]).await;
    let of = |letter: char| {
        began
            .iter()
            .filter(|user| user.starts_with(letter))
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(of('h'), ["h1", "h2", "h3", "h4"]);
    assert_eq!(of('l'), ["l1", "l2", "l3", "l4"]);
    let heavy_in_six = began[..6].iter().filter(|user| user.starts_with('h')).count();
    assert_eq!(heavy_in_six, 4, "{began:?}");
}

#[tokio::test]
async fn one_user_does_not_hold_up_the_others() {
    let groups = "concurrency_max = 4\n[[groups]]\nname = \"g\"\nusers = [\"*\"]\nuser_concurrency_max = 1";
    let (admission, registry) = (Admission::new(config(groups)), Registry::default());
    let alice = admission.admit(&query(&registry, "alice")).await.unwrap();
    let (again, bob) = (query(&registry, "alice"), query(&registry, "bob"));
    let mut again_waits = Box::pin(admission.admit(&again));
    assert!((&mut again_waits).now_or_never().is_none());
    assert_eq!(again.queue_position(), 1);
    let _bob = admission.admit(&bob).now_or_never().unwrap().unwrap();
    drop(alice);
    let _permit = again_waits.await.unwrap();
    assert_eq!(again.queue_position(), 0);
}

#[tokio::test]
async fn queues_have_an_end_and_patience_too() {
    let groups =
        "[[groups]]\nname = \"g\"\nusers = [\"*\"]\nconcurrency_max = 1\nqueue_max = 2\nqueue_timeout = \"30ms\"";
    let (admission, registry) = (Admission::new(config(groups)), Registry::default());
    let running = admission.admit(&query(&registry, "a")).await.unwrap();
    let queries = ["b", "c", "d"].map(|user| query(&registry, user));
    let mut waiting: Vec<_> = queries.iter().map(|query| Box::pin(admission.admit(query))).collect();
    let mut last = waiting.pop().unwrap();
    for admit in &mut waiting {
        assert!(admit.now_or_never().is_none());
    }
    let refused = (&mut last).now_or_never().unwrap().err().unwrap();
    assert!(
        refused.to_string().contains("2 queries wait in the queue of group g"),
        "{refused}"
    );
    assert_eq!(queries.each_ref().map(|query| query.queue_position()), [1, 2, 0]);
    // Who gives up leaves the queue.
    drop(waiting.remove(0));
    assert_eq!(queries.each_ref().map(|query| query.queue_position()), [0, 1, 0]);
    let late = waiting.remove(0).await.err().unwrap();
    assert!(late.to_string().contains("waited 30ms"), "{late}");
    drop(running);
    assert!(admission.admit(&queries[0]).now_or_never().is_some());
}

#[tokio::test]
async fn admins_and_memory_count() {
    let groups = "admins = [\"root\"]\n[[groups]]\nname = \"g\"\nusers = [\"*\"]\n\
                  memory_bytes_max = 250\nquery_memory_bytes_max = 100\nscan_bytes_max = 7\nrows_max = 8";
    let (admission, registry) = (Admission::new(config(groups)), Registry::default());
    let mut permits = Vec::new();
    for _ in 0..2 {
        permits.push(admission.admit(&query(&registry, "a")).now_or_never().unwrap().unwrap());
    }
    let third = query(&registry, "a");
    assert!(admission.admit(&third).now_or_never().is_none());
    assert!(admission.admit(&query(&registry, "root")).now_or_never().is_some());
    let limits = admission.limits("a", &third.origin);
    assert_eq!((limits.memory_bytes_max, limits.scan_bytes_max), (Some(100), Some(7)));
    assert_eq!(admission.rows_max("a", &third.origin), Some(8));
}

#[test]
fn tags_choose_a_group_among_those_of_the_user() {
    let groups = "[[groups]]\nname = \"batch\"\nusers = [\"a\", \"b*\"]\ntags = [\"nightly\", \"client=dbt*\"]\n\
                  [[groups]]\nname = \"rest\"\nusers = [\"*\"]";
    let config = config(groups);
    let check = |user: &str, tags: &[&str], expect: &str| {
        let tags: Vec<_> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        let group = config.group(config.group_of(user, &tags));
        assert_eq!(group.name, expect, "{user} {tags:?}");
    };
    check("a", &["app=x", "nightly"], "batch");
    check("bob", &["client=dbt-lakewing"], "batch");
    check("a", &[], "rest");
    check("a", &["nightly2", "dbt"], "rest");
    check("c", &["nightly"], "rest");
}

#[test]
fn contradictions_name_their_key() {
    let check = |text: &str, expect: &str| {
        let error = toml(text).validate().unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("concurrency_max = 0", "queries.concurrency_max: must");
    check("[[groups]]\nname = \"a\"", "queries.groups.0.users: must");
    check(
        "[[groups]]\nusers = [\"a\"]\nweight = 0",
        "queries.groups.0.weight: must",
    );
    check(
        "[[groups]]\nusers = [\"a\"]\nmemory_bytes_max = 1",
        "queries.groups.0.query_memory_bytes_max: is needed",
    );
}
