//! What the chart does not take: values that the schema does not know, and values that contradict each other.

use anyhow::{Result, ensure};
use harness::{least_values, render};
use serde_json::{Value, json};

use super::values::{defaults, set};
use super::{NAMESPACE, merged};

/// Values with everything that can be switched on.
pub(super) fn everything() -> Value {
    let more = json!({
        "replicaCount": 3,
        "existingSecret": "keys",
        "auth": { "mode": "required" },
        "spool": { "location": "s3://lake/spool" },
        "tls": {
            "clientAuthority": true,
            "clientCertificateRequired": true,
            "certManager": { "enabled": true, "issuerRef": { "name": "house" }, "dnsNames": ["lake.example.org"] },
        },
        "executorTls": { "certManager": { "enabled": true, "issuerRef": { "name": "house" } } },
        "ingress": { "enabled": true, "hosts": ["lake.example.org"] },
        "grpcRoute": { "enabled": true, "parentRefs": [{ "name": "gate" }] },
        "metrics": { "clients": [{ "namespaceSelector": {} }] },
        "serviceMonitor": { "enabled": true, "labels": { "prometheus": "main" } },
        "autoscaling": { "enabled": true },
        "podDisruptionBudget": { "minAvailable": 1, "maxUnavailable": "" },
        "networkPolicy": { "egress": [] },
        "executor": { "existingSecret": "keys", "sets": [
            { "name": "default" },
            { "name": "spot", "max": 32, "tolerations": [{ "key": "spot", "operator": "Exists" }] },
        ] },
        "test": { "existingSecret": "me" },
    });
    merged(&least_values(), &more)
}

/// Renders the least values with `changes`, and compares the complaint.
#[track_caller]
fn refuses(changes: &[(&str, Value)], expected: &str) {
    let said = || -> Result<String> {
        let mut values = merged(&defaults()?, &least_values());
        for (path, value) in changes {
            set(&mut values, path, value.clone())?;
        }
        match render(NAMESPACE, &values) {
            Ok(_) => Ok("nothing".to_owned()),
            Err(complaint) => Ok(complaint.to_string()),
        }
    };
    let said = said().unwrap_or_else(|error| format!("{error:#}"));
    assert!(said.contains(expected), "{changes:?}: {said}");
}

#[test]
fn unknown_keys_are_refused_in_every_block() -> Result<()> {
    fn blocks(path: &str, value: &Value, found: &mut Vec<String>) {
        // What is passed on to Kubernetes as it is, the API server checks.
        let free = [
            "commonLabels",
            "Annotations",
            "annotations",
            "requests",
            "limits",
            "Probe",
            "tcpSocket",
            "httpGet",
        ];
        let free = [
            &free[..],
            &["curityContext", "seccompProfile", "capabilities", "preStop", "sleep"],
        ]
        .concat();
        if free.iter().any(|end| path.ends_with(end)) {
            return;
        }
        if let Value::Object(fields) = value {
            if !fields.is_empty() {
                found.push(path.to_owned());
            }
            for (key, value) in fields {
                blocks(
                    &if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    },
                    value,
                    found,
                );
            }
        }
    }
    let mut all = Vec::new();
    blocks("", &defaults()?, &mut all);
    all.push("executor.sets[0]".to_owned());
    ensure!(all.len() > 20, "{all:?}");
    for block in all {
        let path = if block.is_empty() {
            "surprise".to_owned()
        } else {
            format!("{block}.surprise")
        };
        refuses(&[(&path, json!(1))], "additional properties 'surprise' not allowed");
    }
    Ok(())
}

#[test]
fn wrong_values_are_refused() {
    let check = |path: &str, value: Value, expected: &str| refuses(&[(path, value)], expected);
    check("image.digest", json!("sha256:0"), "'/image/digest'");
    check("image.pullPolicy", json!("Sometimes"), "'/image/pullPolicy'");
    check("image.repository", json!(""), "'/image/repository'");
    check("imagePullSecrets", json!(["pull"]), "'/imagePullSecrets/0'");
    check("commonLabels", json!({ "a": 1 }), "'/commonLabels/a'");
    check("config", json!({}), "'/config'");
    check("existingSecret", json!("No_Name"), "'/existingSecret'");
    check("auth.mode", json!("none"), "'/auth/mode'");
    check("spool.location", json!("lake/spool"), "'/spool/location'");
    check("spool.lifetime", json!("10"), "'/spool/lifetime'");
    check("spool.bytesMax", json!("1Gi"), "'/spool/bytesMax'");
    check("tls.clientAuthority", json!("yes"), "'/tls/clientAuthority'");
    check(
        "tls.certManager.issuerRef",
        json!({ "nam": "x" }),
        "'/tls/certManager/issuerRef'",
    );
    check("service.type", json!("ExternalName"), "'/service/type'");
    check("service.port", json!(65536), "'/service/port'");
    check("ingress.hosts", json!("a"), "'/ingress/hosts'");
    check("ingress.tls", json!([{ "secret": "a" }]), "'/ingress/tls/0'");
    check(
        "podDisruptionBudget.maxUnavailable",
        json!("half"),
        "'/podDisruptionBudget/maxUnavailable'",
    );
    check("autoscaling.minReplicas", json!(0), "'/autoscaling/minReplicas'");
    check("replicaCount", json!(-1), "'/replicaCount'");
    check(
        "server.resources.requests.memory",
        json!("2GB"),
        "'/server/resources/requests/memory'",
    );
    check(
        "server.shutdownGraceSeconds",
        json!("30s"),
        "'/server/shutdownGraceSeconds'",
    );
    check("server.extraEnv", json!([{ "value": "a" }]), "'/server/extraEnv/0'");
    check(
        "server.configMounts",
        json!([{ "name": "a", "path": "/a" }]),
        "'/server/configMounts/0'",
    );
    check(
        "server.secretMounts",
        json!([{ "name": "a", "secret": "a", "path": "a" }]),
        "'/server/secretMounts/0/path'",
    );
    check("server.extraPodSpec", json!({ "volumes": [] }), "'volumes'");
    check("server.affinity", json!({ "node": {} }), "'/server/affinity'");
    check(
        "executor.podLabels",
        json!({ "lakewing.dev/release": "a" }),
        "'lakewing.dev/release'",
    );
    check(
        "executor.extraEnv",
        json!([{ "name": "POD_IP" }]),
        "'/executor/extraEnv/0/name'",
    );
    check("executor.sets", json!([]), "'/executor/sets'");
    check("executor.sets", json!([{ "max": 1 }]), "'/executor/sets/0'");
    check("executor.sets[0].name", json!("Spot"), "'/executor/sets/0/name'");
    check("executor.sets[0].max", json!(0), "'/executor/sets/0/max'");
    check(
        "executor.sets[0].idleTimeout",
        json!(60),
        "'/executor/sets/0/idleTimeout'",
    );
    check("executor.sets[0].cpu", json!("two"), "'/executor/sets/0/cpu'");
    check(
        "executor.sets[0].memoryBytes",
        json!("6Gi"),
        "'/executor/sets/0/memoryBytes'",
    );
}

#[test]
fn contradictions_are_refused() {
    let check = |path: &str, value: Value, expected: &str| refuses(&[(path, value)], expected);
    check(
        "fullnameOverride",
        json!("Lake"),
        "the full name \"Lake\" must be of lower-case letters",
    );
    check(
        "auth.existingSecret",
        json!(""),
        "auth.mode basic needs auth.existingSecret",
    );
    check("auth.usersKey", json!(""), "auth.mode basic needs auth.existingSecret");
    check("replicaCount", json!(2), "several servers need spool.location");
    let several = |path, value| (path, value);
    let spool = ("spool.location", json!("s3://a/b"));
    refuses(
        &[
            ("replicaCount", json!(2)),
            spool.clone(),
            several("auth.secretKey", json!("")),
        ],
        "several servers need auth.existingSecret and auth.secretKey",
    );
    check(
        "autoscaling.enabled",
        json!(true),
        "several servers need spool.location",
    );
    refuses(
        &[
            ("autoscaling.enabled", json!(true)),
            spool,
            ("autoscaling.minReplicas", json!(9)),
        ],
        "autoscaling.minReplicas must be at most autoscaling.maxReplicas",
    );
    let grace = "server.terminationGracePeriodSeconds must be longer";
    check("server.terminationGracePeriodSeconds", json!(35), grace);
    check("server.shutdownGraceSeconds", json!(55), grace);
    check("serviceAccount.create", json!(false), "serviceAccount.name is needed");
    check(
        "executor.serviceAccount.create",
        json!(false),
        "executor.serviceAccount.name is needed",
    );
    let budget = "podDisruptionBudget takes one of";
    check("podDisruptionBudget.minAvailable", json!(1), budget);
    check("podDisruptionBudget.maxUnavailable", json!(""), budget);
    check(
        "tls.certManager.enabled",
        json!(true),
        "tls.certManager.issuerRef.name is needed",
    );
    check(
        "executorTls.certManager.enabled",
        json!(true),
        "executorTls.certManager.issuerRef.name is needed",
    );
    refuses(
        &[
            ("tls.certManager.enabled", json!(true)),
            ("tls.existingSecret", json!("a")),
        ],
        "tls takes one of existingSecret and certManager",
    );
    refuses(
        &[
            ("tls.certManager.enabled", json!(true)),
            ("tls.certManager.issuerRef", json!({ "name": "a" })),
        ],
        "tls.certManager.dnsNames must name the server",
    );
    check("tls.clientAuthority", json!(true), "tls.clientAuthority needs");
    refuses(
        &[
            ("tls.clientCertificateRequired", json!(true)),
            ("tls.existingSecret", json!("a")),
        ],
        "tls.clientCertificateRequired needs tls.clientAuthority",
    );
    check(
        "ingress.enabled",
        json!(true),
        "ingress.hosts must name at least one host",
    );
    check(
        "grpcRoute.enabled",
        json!(true),
        "grpcRoute.parentRefs must name at least one Gateway",
    );
    check(
        "executor.terminationGracePeriodSeconds",
        json!(30),
        "must be longer than executor.graceSeconds",
    );
    check(
        "executor.sets[0].terminationGracePeriodSeconds",
        json!(30),
        "must be longer than executor.graceSeconds",
    );
    check(
        "executor.sets[0].min",
        json!(5),
        "min of the set \"default\" must be at most max, 4",
    );
    check(
        "executor.sets[0].initial",
        json!(5),
        "initial of the set \"default\" must be at most max, 4",
    );
    check(
        "executor.sets",
        json!([{ "name": "a" }, { "name": "a" }]),
        "executor.sets has two sets \"a\"",
    );
    check(
        "executor.sets",
        json!([{ "name": "a", "max": 256 }, { "name": "b", "max": 1 }]),
        "257 together, at most 256",
    );
    check(
        "executor.sets",
        json!([{ "name": "a", "memoryOverheadBytes": 1 }]),
        "needs memoryBytes",
    );
    check(
        "executor.resources",
        json!({ "requests": { "cpu": "1" } }),
        "has both cpu and resources.requests.cpu",
    );
    check(
        "executor.sets[0].resources",
        json!({ "limits": { "memory": "1Gi" } }),
        "has both memoryBytes and memory",
    );
}

#[test]
fn what_does_not_belong_into_the_configuration_is_refused() {
    let catalog = "[catalogs.lake]\ntype = \"iceberg-rest\"\nuri = \"https://catalog.example.org\"\n";
    let check = |head: &str, tail: &str, expected: &str| {
        refuses(&[("config", json!(format!("{head}\n{catalog}{tail}\n")))], expected);
    };
    refuses(&[("config", json!(""))], "config must have at least one catalog");
    refuses(&[("config", json!("a = "))], "config is not TOML");
    check("listen = \"0.0.0.0:1\"", "", "config must leave listen to the chart");
    check("data_dir = \"/a\"", "", "config must leave data_dir to the chart");
    check(
        "shutdown_grace = \"1s\"",
        "",
        "config must leave shutdown_grace to the value server.shutdownGraceSeconds",
    );
    check(
        "",
        "[spool]\nlifetime = \"1h\"",
        "config must leave spool to the value spool",
    );
    check("", "[tls]\nkey = \"a\"", "config must leave tls to the value tls");
    for (key, value) in [
        ("mode", "auth.mode"),
        ("users_file", "auth.existingSecret"),
        ("secret", "auth.existingSecret"),
        ("allow_anonymous_remote", "auth.mode"),
    ] {
        let line = format!("[auth]\n{key} = \"a\"");
        check("", &line, &format!("config must leave auth.{key} to the value {value}"));
    }
    check(
        "",
        "[auth.users]\nalice = \"a\"",
        "config must leave auth.users to the value auth.existingSecret",
    );
    for (key, value) in [
        ("target_partitions", "executor.targetPartitions"),
        ("local_scan_bytes_max", "executor.localScanBytesMax"),
        ("grace", "executor.graceSeconds"),
        ("spill_dir", "server.scratchBytes"),
        ("spill_bytes_max", "server.scratchBytes"),
        ("mode.type", "executor.port"),
        ("tls.name", "executorTls"),
    ] {
        let line = format!("[executor]\n{key} = \"a\"");
        let key = key.split('.').next().unwrap_or_default();
        check(
            "",
            &line,
            &format!("config must leave executor.{key} to the value {value}"),
        );
    }
    check(
        "",
        "[[executor.sets]]\nmax = 1",
        "config must leave executor.sets to the value executor.sets",
    );
    check(
        "",
        "credential = \"id:secret\"",
        "config must leave catalogs.lake.credential, a secret, to a variable",
    );
    check(
        "",
        "token = \"a\"",
        "config must leave catalogs.lake.token, a secret, to a variable",
    );
    let database = "[catalogs.more]\ntype = \"iceberg-sql\"\nuri = \"postgresql://a:b@c/d\"";
    check(
        "",
        database,
        "config must leave catalogs.more.uri, which holds a password",
    );
    let storage = "[[storage]]\nprefix = \"s3://a\"\nsecret_access_key = \"b\"";
    check(
        "",
        storage,
        "config must leave storage.secret_access_key, a secret, to the variable LAKEWING__STORAGE",
    );
}
