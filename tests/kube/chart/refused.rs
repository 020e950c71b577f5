//! What the chart does not take: values that the schema does not know, and values that contradict each other.

use anyhow::{Result, ensure};
use harness::{least_values, render};
use serde_json::{Value, json};

use super::values::{defaults, set};
use super::{NAMESPACE, merged};

/// A configuration that is taken.
const CATALOG: &str = "[catalogs.lake]\ntype = \"iceberg-rest\"\nuri = \"https://catalog.example.org\"\n";

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

/// Values that the schema refuses: path, value as JSON, where the schema says so.
const WRONG: &[(&str, &str, &str)] = &[
    ("image.digest", r#""sha256:0""#, "'/image/digest'"),
    ("image.pullPolicy", r#""Sometimes""#, "'/image/pullPolicy'"),
    ("image.repository", r#""""#, "'/image/repository'"),
    ("imagePullSecrets", r#"["pull"]"#, "'/imagePullSecrets/0'"),
    ("commonLabels", r#"{ "a": 1 }"#, "'/commonLabels/a'"),
    ("config", "{}", "'/config'"),
    ("existingSecret", r#""No_Name""#, "'/existingSecret'"),
    ("auth.mode", r#""none""#, "'/auth/mode'"),
    ("spool.location", r#""lake/spool""#, "'/spool/location'"),
    ("spool.lifetime", r#""10""#, "'/spool/lifetime'"),
    ("spool.bytesMax", r#""1Gi""#, "'/spool/bytesMax'"),
    ("tls.clientAuthority", r#""yes""#, "'/tls/clientAuthority'"),
    (
        "tls.certManager.issuerRef",
        r#"{ "nam": "x" }"#,
        "'/tls/certManager/issuerRef'",
    ),
    ("service.type", r#""ExternalName""#, "'/service/type'"),
    ("service.port", "65536", "'/service/port'"),
    ("ingress.hosts", r#""a""#, "'/ingress/hosts'"),
    ("ingress.tls", r#"[{ "secret": "a" }]"#, "'/ingress/tls/0'"),
    (
        "podDisruptionBudget.maxUnavailable",
        r#""half""#,
        "'/podDisruptionBudget/maxUnavailable'",
    ),
    ("autoscaling.minReplicas", "0", "'/autoscaling/minReplicas'"),
    ("replicaCount", "-1", "'/replicaCount'"),
    (
        "server.resources.requests.memory",
        r#""2GB""#,
        "'/server/resources/requests/memory'",
    ),
    (
        "server.shutdownGraceSeconds",
        r#""30s""#,
        "'/server/shutdownGraceSeconds'",
    ),
    ("server.extraEnv", r#"[{ "value": "a" }]"#, "'/server/extraEnv/0'"),
    (
        "server.configMounts",
        r#"[{ "name": "a", "path": "/a" }]"#,
        "'/server/configMounts/0'",
    ),
    (
        "server.secretMounts",
        r#"[{ "name": "a", "secret": "a", "path": "a" }]"#,
        "'/server/secretMounts/0/path'",
    ),
    ("server.extraPodSpec", r#"{ "volumes": [] }"#, "'volumes'"),
    ("server.affinity", r#"{ "node": {} }"#, "'/server/affinity'"),
    (
        "executor.podLabels",
        r#"{ "lakewing.dev/release": "a" }"#,
        "'lakewing.dev/release'",
    ),
    (
        "executor.extraEnv",
        r#"[{ "name": "POD_IP" }]"#,
        "'/executor/extraEnv/0/name'",
    ),
    ("executor.sets", "[]", "'/executor/sets'"),
    ("executor.sets", r#"[{ "max": 1 }]"#, "'/executor/sets/0'"),
    ("executor.sets[0].name", r#""Spot""#, "'/executor/sets/0/name'"),
    ("executor.sets[0].max", "0", "'/executor/sets/0/max'"),
    ("executor.sets[0].idleTimeout", "60", "'/executor/sets/0/idleTimeout'"),
    ("executor.sets[0].cpu", r#""two""#, "'/executor/sets/0/cpu'"),
    (
        "executor.sets[0].memoryBytes",
        r#""6Gi""#,
        "'/executor/sets/0/memoryBytes'",
    ),
];

#[test]
fn wrong_values_are_refused() -> Result<()> {
    for (path, value, expected) in WRONG {
        refuses(&[(path, serde_json::from_str(value)?)], expected);
    }
    Ok(())
}

/// Values that contradict each other, and what the render says: changes, as path and JSON, and a part of the message.
const CONTRADICTIONS: &[(&[(&str, &str)], &str)] = &[
    (
        &[
            ("replicaCount", "2"),
            ("spool.location", r#""s3://a/b""#),
            ("auth.secretKey", r#""""#),
        ],
        "several servers need auth.existingSecret and auth.secretKey",
    ),
    (
        &[("fullnameOverride", r#""Lake""#)],
        "the full name \"Lake\" must be of lower-case letters",
    ),
    (
        &[("auth.existingSecret", r#""""#)],
        "auth.mode basic needs auth.existingSecret",
    ),
    (
        &[("auth.usersKey", r#""""#)],
        "auth.mode basic needs auth.existingSecret",
    ),
    (&[("replicaCount", "2")], "several servers need spool.location"),
    (
        &[("autoscaling.enabled", "true")],
        "several servers need spool.location",
    ),
    (
        &[
            ("autoscaling.enabled", "true"),
            ("spool.location", r#""s3://a/b""#),
            ("autoscaling.minReplicas", "9"),
        ],
        "autoscaling.minReplicas must be at most autoscaling.maxReplicas",
    ),
    (
        &[("server.terminationGracePeriodSeconds", "35")],
        "server.terminationGracePeriodSeconds must be longer",
    ),
    (
        &[("server.shutdownGraceSeconds", "55")],
        "server.terminationGracePeriodSeconds must be longer",
    ),
    (&[("serviceAccount.create", "false")], "serviceAccount.name is needed"),
    (
        &[("executor.serviceAccount.create", "false")],
        "executor.serviceAccount.name is needed",
    ),
    (
        &[("podDisruptionBudget.minAvailable", "1")],
        "podDisruptionBudget takes one of",
    ),
    (
        &[("podDisruptionBudget.maxUnavailable", r#""""#)],
        "podDisruptionBudget takes one of",
    ),
    (
        &[("tls.certManager.enabled", "true")],
        "tls.certManager.issuerRef.name is needed",
    ),
    (
        &[("executorTls.certManager.enabled", "true")],
        "executorTls.certManager.issuerRef.name is needed",
    ),
    (
        &[("tls.certManager.enabled", "true"), ("tls.existingSecret", r#""a""#)],
        "tls takes one of existingSecret and certManager",
    ),
    (
        &[
            ("tls.certManager.enabled", "true"),
            ("tls.certManager.issuerRef", r#"{ "name": "a" }"#),
        ],
        "tls.certManager.dnsNames must name the server",
    ),
    (&[("tls.clientAuthority", "true")], "tls.clientAuthority needs"),
    (
        &[
            ("tls.clientCertificateRequired", "true"),
            ("tls.existingSecret", r#""a""#),
        ],
        "tls.clientCertificateRequired needs tls.clientAuthority",
    ),
    (
        &[("executor.resultsPort", "31418"), ("tls.existingSecret", r#""a""#)],
        "executor.resultsPort takes servers without TLS",
    ),
    (
        &[("executor.resultsPort", "31417")],
        "executor.resultsPort must not be executor.port",
    ),
    (
        &[("ingress.enabled", "true")],
        "ingress.hosts must name at least one host",
    ),
    (
        &[("grpcRoute.enabled", "true")],
        "grpcRoute.parentRefs must name at least one Gateway",
    ),
    (
        &[("executor.terminationGracePeriodSeconds", "30")],
        "must be longer than executor.graceSeconds",
    ),
    (
        &[("executor.sets[0].terminationGracePeriodSeconds", "30")],
        "must be longer than executor.graceSeconds",
    ),
    (
        &[("executor.sets[0].min", "5")],
        "min of the set \"default\" must be at most max, 4",
    ),
    (
        &[("executor.sets[0].initial", "5")],
        "initial of the set \"default\" must be at most max, 4",
    ),
    (
        &[("executor.sets", r#"[{ "name": "a" }, { "name": "a" }]"#)],
        "executor.sets has two sets \"a\"",
    ),
    (
        &[(
            "executor.sets",
            r#"[{ "name": "a", "max": 256 }, { "name": "b", "max": 1 }]"#,
        )],
        "257 together, at most 256",
    ),
    (
        &[("executor.sets", r#"[{ "name": "a", "memoryOverheadBytes": 1 }]"#)],
        "needs memoryBytes",
    ),
    (
        &[("executor.resources", r#"{ "requests": { "cpu": "1" } }"#)],
        "has both cpu and resources.requests.cpu",
    ),
    (
        &[("executor.sets[0].resources", r#"{ "limits": { "memory": "1Gi" } }"#)],
        "has both memoryBytes and memory",
    ),
];

#[test]
fn contradictions_are_refused() -> Result<()> {
    for (changes, expected) in CONTRADICTIONS {
        let changes = changes
            .iter()
            .map(|(path, value)| Ok((*path, serde_json::from_str(value)?)));
        refuses(&changes.collect::<Result<Vec<_>>>()?, expected);
    }
    Ok(())
}

#[test]
fn what_does_not_belong_into_the_configuration_is_refused() {
    let check = |head: &str, tail: &str, expected: &str| {
        refuses(&[("config", json!(format!("{head}\n{CATALOG}{tail}\n")))], expected);
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
}

#[test]
fn what_values_decide_is_refused_in_the_configuration() {
    let check = |head: &str, tail: &str, expected: &str| {
        refuses(&[("config", json!(format!("{head}\n{CATALOG}{tail}\n")))], expected);
    };
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
        ("results.host", "executor.resultsPort"),
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
