//! What configuration is read and refused.

use proto::ErrorKind;
use serde_json::json;

use super::*;

fn config(value: serde_json::Value) -> std::result::Result<Config, String> {
    let config: Config = serde_json::from_value(value).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

fn refused(value: serde_json::Value, message: &str) {
    let error = config(value).unwrap_err();
    assert!(error.contains(message), "{error}");
}

#[test]
fn nothing_configured_is_embedded() {
    assert_eq!(config(json!({})).unwrap(), Config::default());
    assert_eq!(Config::default().mode, Mode::Embedded);
}

#[test]
fn every_mode_is_read() {
    let mode = |value| config(json!({ "mode": value })).unwrap().mode;
    assert_eq!(mode(json!({ "type": "embedded" })), Mode::Embedded);
    assert_eq!(
        mode(json!({ "type": "in-process", "count": 3 })),
        Mode::InProcess { count: 3 }
    );
    let addresses = vec![
        Url::parse("http://a:31417").unwrap(),
        Url::parse("http://b:31417").unwrap(),
    ];
    assert_eq!(
        mode(json!({ "type": "static", "addresses": ["http://a:31417", "http://b:31417"] })),
        Mode::Static { addresses }
    );
}

#[test]
fn durations_have_units() {
    assert_eq!(
        config(json!({ "connect_timeout": "250ms" })).unwrap().connect_timeout,
        Duration::from_millis(250)
    );
}

#[test]
fn contradictions_name_their_key() {
    refused(json!({ "modus": 1 }), "unknown field `modus`");
    refused(
        json!({ "mode": { "type": "in-process", "count": 0 } }),
        "mode.count: must be between",
    );
    refused(
        json!({ "mode": { "type": "static", "addresses": [] } }),
        "mode.addresses: must name",
    );
    for address in ["ftp://a:1", "http://a", "http://a:1/path", "http://user@a:1"] {
        refused(
            json!({ "mode": { "type": "static", "addresses": [address] } }),
            "mode.addresses.0: must have the form http://host:port",
        );
    }
    refused(
        json!({ "mode": { "type": "static", "addresses": ["https://a:1"] } }),
        "mode.addresses.0: must begin with http://",
    );
    refused(
        json!({ "mode": { "type": "static", "addresses": ["http://a:1", "http://a:1/"] } }),
        "mode.addresses.1: http://a:1/ is listed twice",
    );
    refused(
        json!({ "target_partitions": 0 }),
        "target_partitions: must be at least 1",
    );
    refused(json!({ "memory_bytes_max": 0 }), "memory_bytes_max: must be at least 1");
    refused(
        json!({ "connect_timeout": "0s" }),
        "connect_timeout: must be longer than 0",
    );
}

#[test]
fn a_contradiction_is_invalid_input() {
    let config = ExecutorConfig {
        keep_alive: Duration::ZERO,
        ..ExecutorConfig::default()
    };
    assert_eq!(config.validate().unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn sets_are_read_where_executors_are_started() {
    let mode = json!({ "type": "process" });
    let default = config(json!({ "mode": mode })).unwrap();
    assert_eq!(default.mode, Mode::Process { program: None });
    assert_eq!(default.scaled_sets(), [SetConfig::default()]);
    let own = config(json!({ "mode": mode, "sets": [{ "name": "spot", "max": 9, "idle_timeout": "5s" }] })).unwrap();
    let spot = SetConfig {
        name: "spot".to_owned(),
        max: 9,
        idle_timeout: Duration::from_secs(5),
        ..SetConfig::default()
    };
    assert_eq!(own.scaled_sets(), [spot]);
    assert_eq!(Config::default().scaled_sets(), []);
    refused(json!({ "sets": [{}] }), "sets: are for mode.type");
    let check = |sets: serde_json::Value, message: &str| refused(json!({ "mode": mode, "sets": sets }), message);
    check(json!([{ "name": "Spot" }]), "sets.0.name: must be of lower-case");
    check(json!([{ "name": "-a" }]), "sets.0.name: must begin and end");
    check(json!([{ "name": "a" }, { "name": "a" }]), "sets.1.name: there are two");
    check(json!([{ "max": 0 }]), "sets.0.max: must be at least 1");
    check(
        json!([{ "max": 200 }, { "name": "b", "max": 57 }]),
        "sets.1.max: must be at least 1, and at most 256",
    );
    check(json!([{ "min": 5 }]), "sets.0.min: must be at most max");
    check(json!([{ "initial": 5 }]), "sets.0.initial: must be at most max");
    check(json!([{ "tasks_per_executor": 0 }]), "sets.0.tasks_per_executor");
    check(json!([{ "round": "0s" }]), "sets.0.round");
    check(json!([{ "budget_period": "0s" }]), "sets.0.budget_period");
}

#[test]
fn pods_are_for_kubernetes() {
    let mode = json!({ "type": "kubernetes", "image": "lakewing:1" });
    let own = config(json!({ "mode": mode, "sets": [{ "pod": { "cpu": "2", "memory_bytes": 9 } }] })).unwrap();
    let kubernetes = KubernetesConfig {
        image: Some("lakewing:1".to_owned()),
        ..KubernetesConfig::default()
    };
    assert_eq!(own.mode, Mode::Kubernetes(kubernetes));
    let pod = own.scaled_sets()[0].pod.clone().unwrap();
    assert_eq!((pod.cpu.as_deref(), pod.memory_bytes), (Some("2"), Some(9)));
    assert_eq!(
        config(json!({ "mode": mode })).unwrap().scaled_sets(),
        [SetConfig::default()]
    );
    refused(
        json!({ "mode": { "type": "kubernetes", "pods": 1 } }),
        "unknown field `pods`",
    );
    refused(
        json!({ "mode": { "type": "kubernetes", "lease": "A" } }),
        "mode.lease: must be",
    );
    refused(
        json!({ "mode": { "type": "kubernetes", "lease": "a-" } }),
        "mode.lease: must be",
    );
    refused(
        json!({ "mode": { "type": "kubernetes", "port": 0 } }),
        "mode.port: must be",
    );
    let process = json!({ "type": "process" });
    refused(
        json!({ "mode": process, "sets": [{ "pod": {} }] }),
        "sets.0.pod: is for mode.type = \"kubernetes\"",
    );
    let check = |pod: serde_json::Value, message: &str| {
        refused(json!({ "mode": mode, "sets": [{ "pod": pod }] }), message);
    };
    check(
        json!({ "memory_bytes": 0 }),
        "sets.0.pod.memory_bytes: must be at least 1",
    );
    check(
        json!({ "memory_overhead_bytes": 1 }),
        "sets.0.pod.memory_overhead_bytes: needs",
    );
    check(
        json!({ "scratch_bytes": 0 }),
        "sets.0.pod.scratch_bytes: must be at least 1",
    );
    check(
        json!({ "pending_timeout": "0s" }),
        "sets.0.pod.pending_timeout: must be longer",
    );
}
