//! One case for each value of the chart.

use serde_json::{Value, json};

use super::pods::{
    defaults_of_executors, defaults_of_pods, defaults_of_servers, maps_of_executors, maps_of_sets, of_pods,
};
use super::values::{Case, case};

const POD: &str = "Deployment/spec/template";
const TEMPLATE: &str = "template:default";
const SERVER: &str = "Deployment/spec/template/spec/containers/@server";
const EXECUTOR: &str = "template:default/spec/containers/@executor";

/// All of them.
pub(super) fn cases() -> Vec<Case> {
    let mut all = general();
    all.extend(connections());
    all.extend(accounts());
    all.extend(routes());
    all.extend(availability());
    all.extend(servers());
    all.extend(executors());
    all.extend(sets());
    all
}

fn general() -> Vec<Case> {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let more = "[catalogs.more]\ntype = \"delta\"\nroot = \"s3://more\"\n";
    vec![
        case("nameOverride", json!("house"))
            .shows("Deployment/metadata/name", json!("lakewing-house"))
            .shows("Service/spec/selector/app.kubernetes.io~1name", json!("house")),
        case("fullnameOverride", json!("boat"))
            .shows("Lease/metadata/name", json!("boat"))
            .shows("Role/rules/1/resourceNames/0", json!("boat"))
            .shows("config:lease = \"boat\"", json!(true))
            .shows(
                "NetworkPolicy:boat-executor/spec/podSelector/matchLabels/lakewing.dev~1release",
                json!("boat"),
            ),
        case("commonLabels", json!({ "team": "data" }))
            .shows("Lease/metadata/labels/team", json!("data"))
            .shows(format!("{POD}/metadata/labels/team"), json!("data"))
            .shows(format!("{TEMPLATE}/metadata/labels/team"), json!("data")),
        case("image.repository", json!("example.org/lakewing"))
            .shows(format!("{SERVER}/image"), json!("example.org/lakewing:0.1.0"))
            .shows("config:image = \"example.org/lakewing:0.1.0\"", json!(true)),
        case("image.tag", json!("2"))
            .shows(format!("{SERVER}/image"), json!("lakewing:2"))
            .shows("config:image = \"lakewing:2\"", json!(true)),
        case("image.digest", json!(digest)).shows(format!("{SERVER}/image"), json!(format!("lakewing@{digest}"))),
        case("image.pullPolicy", json!("Always"))
            .shows(format!("{SERVER}/imagePullPolicy"), json!("Always"))
            .shows(format!("{EXECUTOR}/imagePullPolicy"), json!("Always")),
        case("imagePullSecrets", json!([{ "name": "pull" }]))
            .shows(format!("{POD}/spec/imagePullSecrets/0/name"), json!("pull"))
            .shows(format!("{TEMPLATE}/spec/imagePullSecrets/0/name"), json!("pull")),
        case("config", json!(more)).shows("config:root = \"s3://more\"", json!(true)),
        case("existingSecret", json!("keys")).shows(format!("{SERVER}/envFrom/0/secretRef/name"), json!("keys")),
        case("test.existingSecret", json!("me"))
            .shows("Pod/spec/containers/0/env/0/valueFrom/secretKeyRef/name", json!("me")),
    ]
}

fn connections() -> Vec<Case> {
    let variable = |name: &str, field: &str| format!("{SERVER}/env/@LAKEWING__{name}/{field}");
    let volume = |name: &str, field: &str| format!("{POD}/spec/volumes/@{name}/{field}");
    let mut all = vec![
        case("auth.mode", json!("required")).shows(variable("AUTH__MODE", "value"), json!("required")),
        case("auth.mode", json!("anonymous"))
            .shows(variable("AUTH__MODE", "value"), json!("anonymous"))
            .shows(variable("AUTH__ALLOW_ANONYMOUS_REMOTE", "value"), json!("true"))
            .shows(variable("AUTH__USERS_FILE", "value"), Value::Null),
        case("auth.existingSecret", json!("people"))
            .shows(volume("auth", "secret/secretName"), json!("people"))
            .shows(variable("AUTH__SECRET", "valueFrom/secretKeyRef/name"), json!("people")),
        case("auth.usersKey", json!("names")).shows(volume("auth", "secret/items/0/key"), json!("names")),
        case("auth.secretKey", json!("sign"))
            .shows(variable("AUTH__SECRET", "valueFrom/secretKeyRef/key"), json!("sign")),
        case("spool.location", json!("s3://lake/spool"))
            .shows(variable("SPOOL__LOCATION", "value"), json!("s3://lake/spool")),
        case("spool.bytesMax", json!(1000))
            .shows(variable("SPOOL__BYTES_MAX", "value"), json!("1000"))
            .shows(volume("data", "emptyDir/sizeLimit"), json!("1100")),
        case("spool.lifetime", json!("1h")).shows(variable("SPOOL__LIFETIME", "value"), json!("1h")),
        case("tls.existingSecret", json!("front"))
            .shows(volume("tls", "secret/secretName"), json!("front"))
            .shows("config:certificate = \"/etc/lakewing-tls/tls.crt\"", json!(true))
            .shows("Service/spec/ports/0/appProtocol", json!("https")),
        case("tls.clientAuthority", json!(true))
            .with("tls.existingSecret", json!("front"))
            .shows("config:client_authority = \"/etc/lakewing-tls/ca.crt\"", json!(true)),
        case("tls.clientCertificateRequired", json!(true))
            .with("tls.existingSecret", json!("front"))
            .with("tls.clientAuthority", json!(true))
            .shows("config:client_certificate_required = true", json!(true)),
        case("executorTls.existingSecret", json!("back"))
            .shows(volume("executor-tls", "secret/secretName"), json!("back"))
            .shows(
                format!("{TEMPLATE}/spec/volumes/@executor-tls/secret/secretName"),
                json!("back"),
            )
            .shows("config:authority = \"/etc/lakewing-executor-tls/ca.crt\"", json!(true)),
        case("executorTls.name", json!("inside"))
            .with("executorTls.existingSecret", json!("back"))
            .shows("config:name = \"inside\"", json!(true)),
    ];
    all.extend(certificates());
    all
}

fn certificates() -> Vec<Case> {
    let issuer = json!({ "name": "house" });
    let mut all = Vec::new();
    for (block, name) in [("tls", "lakewing-tls"), ("executorTls", "lakewing-executor-tls")] {
        let key = |key: &str| format!("{block}.certManager.{key}");
        let certificate = |field: &str| format!("Certificate:{name}/spec/{field}");
        let made = |one: Case| {
            let one = one.with(&key("issuerRef"), issuer.clone());
            if block == "tls" {
                one.with(&key("dnsNames"), json!(["a.example.org"]))
            } else {
                one
            }
        };
        all.push(made(case(key("enabled"), json!(true))).shows(certificate("secretName"), json!(name)));
        all.push(
            made(case(
                key("issuerRef"),
                json!({ "name": "other", "kind": "ClusterIssuer" }),
            ))
            .with(&key("enabled"), json!(true))
            .shows(certificate("issuerRef/kind"), json!("ClusterIssuer")),
        );
    }
    all.push(
        case("tls.certManager.dnsNames", json!(["b.example.org"]))
            .with("tls.certManager.enabled", json!(true))
            .with("tls.certManager.issuerRef", issuer)
            .with("tls.certManager.dnsNames", json!(["a.example.org"]))
            .shows("Certificate/spec/dnsNames/0", json!("b.example.org")),
    );
    all
}

fn accounts() -> Vec<Case> {
    vec![
        case("serviceAccount.create", json!(false))
            .with("serviceAccount.name", json!("mine"))
            .shows("ServiceAccount:mine/metadata/name", Value::Null),
        case("serviceAccount.name", json!("mine"))
            .shows(format!("{POD}/spec/serviceAccountName"), json!("mine"))
            .shows("ServiceAccount:mine/metadata/name", json!("mine"))
            .shows("RoleBinding/subjects/0/name", json!("mine")),
        case("serviceAccount.annotations", json!({ "role": "reader" }))
            .shows("ServiceAccount:lakewing/metadata/annotations/role", json!("reader")),
        case("executor.serviceAccount.create", json!(false))
            .with("executor.serviceAccount.name", json!("mine"))
            .shows("ServiceAccount:mine/metadata/name", Value::Null),
        case("executor.serviceAccount.name", json!("mine"))
            .shows(format!("{TEMPLATE}/spec/serviceAccountName"), json!("mine"))
            .shows("ServiceAccount:mine/automountServiceAccountToken", json!(false)),
        case("executor.serviceAccount.annotations", json!({ "role": "reader" })).shows(
            "ServiceAccount:lakewing-executor/metadata/annotations/role",
            json!("reader"),
        ),
        case("rbac.create", json!(false))
            .shows("Role/metadata/name", Value::Null)
            .shows("RoleBinding/metadata/name", Value::Null),
    ]
}

fn routes() -> Vec<Case> {
    let ingress = |key: &str, value: Value| {
        case(format!("ingress.{key}"), value)
            .with("ingress.hosts", json!(["a.example.org"]))
            .with("ingress.enabled", json!(true))
    };
    let grpc = |key: &str, value: Value| {
        case(format!("grpcRoute.{key}"), value)
            .with("grpcRoute.parentRefs", json!([{ "name": "gate" }]))
            .with("grpcRoute.enabled", json!(true))
    };
    let tls = json!([{ "secretName": "front", "hosts": ["a.example.org"] }]);
    vec![
        case("service.type", json!("LoadBalancer")).shows("Service/spec/type", json!("LoadBalancer")),
        case("service.port", json!(443)).shows("Service/spec/ports/0/port", json!(443)),
        case("service.annotations", json!({ "a": "b" })).shows("Service/metadata/annotations/a", json!("b")),
        case("ingress.enabled", json!(true))
            .with("ingress.hosts", json!(["a.example.org"]))
            .shows(
                "Ingress/spec/rules/0/http/paths/0/backend/service/port/name",
                json!("flight"),
            ),
        ingress("className", json!("edge")).shows("Ingress/spec/ingressClassName", json!("edge")),
        ingress("annotations", json!({ "a": "b" })).shows("Ingress/metadata/annotations/a", json!("b")),
        ingress("hosts", json!(["b.example.org"])).shows("Ingress/spec/rules/0/host", json!("b.example.org")),
        ingress("tls", tls).shows("Ingress/spec/tls/0/secretName", json!("front")),
        case("grpcRoute.enabled", json!(true))
            .with("grpcRoute.parentRefs", json!([{ "name": "gate" }]))
            .shows("GRPCRoute/spec/rules/0/backendRefs/0/port", json!(31415)),
        grpc("annotations", json!({ "a": "b" })).shows("GRPCRoute/metadata/annotations/a", json!("b")),
        grpc("parentRefs", json!([{ "name": "door" }])).shows("GRPCRoute/spec/parentRefs/0/name", json!("door")),
        grpc("hostnames", json!(["b.example.org"])).shows("GRPCRoute/spec/hostnames/0", json!("b.example.org")),
        case("metrics.port", json!(9999))
            .shows("config:listen = \"0.0.0.0:9999\"", json!(true))
            .shows(format!("{SERVER}/ports/@metrics/containerPort"), json!(9999)),
        case("metrics.clients", json!([{ "namespaceSelector": {} }])).shows(
            "NetworkPolicy:lakewing-server/spec/ingress/1",
            json!({ "from": [{ "namespaceSelector": {} }], "ports": [{ "port": 9464 }] }),
        ),
        case("serviceMonitor.enabled", json!(true))
            .shows("ServiceMonitor/spec/endpoints/0/port", json!("metrics"))
            .shows("Service:lakewing-metrics/spec/ports/0/port", json!(9464)),
        case("serviceMonitor.labels", json!({ "prometheus": "main" }))
            .with("serviceMonitor.enabled", json!(true))
            .shows("ServiceMonitor/metadata/labels/prometheus", json!("main")),
        case("serviceMonitor.interval", json!("10s"))
            .with("serviceMonitor.enabled", json!(true))
            .shows("ServiceMonitor/spec/endpoints/0/interval", json!("10s")),
        case("networkPolicy.enabled", json!(false))
            .shows("NetworkPolicy:lakewing-server/metadata/name", Value::Null)
            .shows("NetworkPolicy:lakewing-executor/metadata/name", Value::Null),
        case("networkPolicy.clients", json!([{ "namespaceSelector": {} }])).shows(
            "NetworkPolicy:lakewing-server/spec/ingress/0/from",
            json!([{ "namespaceSelector": {} }]),
        ),
        case(
            "networkPolicy.egress",
            json!([{ "to": [{ "ipBlock": { "cidr": "10.0.0.0/8" } }] }]),
        )
        .shows(
            "NetworkPolicy:lakewing-server/spec/egress/2/to/0/ipBlock/cidr",
            json!("10.0.0.0/8"),
        )
        .shows(
            "NetworkPolicy:lakewing-executor/spec/egress/2/to/0/ipBlock/cidr",
            json!("10.0.0.0/8"),
        ),
    ]
}

fn availability() -> Vec<Case> {
    let several = |one: Case| one.with("spool.location", json!("s3://lake/spool"));
    let scaled = |one: Case| several(one).with("autoscaling.enabled", json!(true));
    let scaler = |field: &str| format!("HorizontalPodAutoscaler/spec/{field}");
    vec![
        case("podDisruptionBudget.enabled", json!(false)).shows("PodDisruptionBudget/metadata/name", Value::Null),
        case("podDisruptionBudget.minAvailable", json!("50%"))
            .along("podDisruptionBudget.maxUnavailable", json!(""))
            .shows("PodDisruptionBudget/spec/minAvailable", json!("50%"))
            .shows("PodDisruptionBudget/spec/maxUnavailable", Value::Null),
        case("podDisruptionBudget.maxUnavailable", json!(2)).shows("PodDisruptionBudget/spec/maxUnavailable", json!(2)),
        several(case("autoscaling.enabled", json!(true)))
            .shows(scaler("scaleTargetRef/name"), json!("lakewing"))
            .shows("Deployment/spec/replicas", Value::Null),
        scaled(case("autoscaling.minReplicas", json!(3))).shows(scaler("minReplicas"), json!(3)),
        scaled(case("autoscaling.maxReplicas", json!(9))).shows(scaler("maxReplicas"), json!(9)),
        scaled(case("autoscaling.targetCPUUtilizationPercentage", json!(50)))
            .shows(scaler("metrics/0/resource/target/averageUtilization"), json!(50)),
        several(case("replicaCount", json!(3)))
            .shows("Deployment/spec/replicas", json!(3))
            .shows(
                format!("{SERVER}/env/@LAKEWING__AUTH__SECRET/valueFrom/secretKeyRef/optional"),
                json!(false),
            ),
    ]
}

fn servers() -> Vec<Case> {
    let variable = |name: &str| format!("{SERVER}/env/@LAKEWING__{name}/value");
    let mut all = vec![
        case("server.shutdownGraceSeconds", json!(20)).shows(variable("SHUTDOWN_GRACE"), json!("20s")),
        case("server.scratchBytes", json!(1000))
            .shows(format!("{POD}/spec/volumes/@scratch/emptyDir/sizeLimit"), json!("1000"))
            .shows(variable("EXECUTOR__SPILL_BYTES_MAX"), json!("900")),
    ];
    all.extend(of_pods("server", POD, "server"));
    all.extend(defaults_of_pods("server", POD, "server"));
    all.extend(defaults_of_servers());
    all
}

fn executors() -> Vec<Case> {
    let variable = |name: &str| format!("{SERVER}/env/@LAKEWING__EXECUTOR__{name}/value");
    let policy = "NetworkPolicy:lakewing-executor/spec/ingress/0/ports/0/port";
    let mut all = vec![
        case("executor.existingSecret", json!("keys"))
            .shows(format!("{EXECUTOR}/envFrom/0/secretRef/name"), json!("keys")),
        case("executor.port", json!(4000))
            .shows("config:port = 4000", json!(true))
            .shows(policy, json!(4000)),
        case("executor.resultsPort", json!(4001))
            .shows("config:listen = \"0.0.0.0:4001\"", json!(true))
            .shows(
                "NetworkPolicy:lakewing-executor/spec/ingress/1/ports/0/port",
                json!(4001),
            ),
        case("executor.targetPartitions", json!(5)).shows(variable("TARGET_PARTITIONS"), json!("5")),
        case("executor.localScanBytesMax", json!(5)).shows(variable("LOCAL_SCAN_BYTES_MAX"), json!("5")),
        case("executor.graceSeconds", json!(20))
            .shows(variable("GRACE"), json!("20s"))
            .shows(format!("{EXECUTOR}/env/@LAKEWING__EXECUTOR__GRACE/value"), json!("20s")),
    ];
    all.extend(of_pods("executor", TEMPLATE, "executor"));
    all.extend(defaults_of_pods("executor", TEMPLATE, "executor"));
    all.extend(defaults_of_executors());
    all.extend(maps_of_executors("executor"));
    all
}

fn sets() -> Vec<Case> {
    let set = |key: &str, value: Value, line: &str| {
        case(format!("executor.sets[0].{key}"), value).shows(format!("config:{line}"), json!(true))
    };
    let mut all = vec![
        set("name", json!("batch"), "name = \"batch\"")
            .shows("config:template = \"/etc/lakewing/executor-batch.yaml\"", json!(true))
            .shows("template:batch/spec/serviceAccountName", json!("lakewing-executor")),
        set("min", json!(1), "min = 1"),
        set("initial", json!(3), "initial = 3"),
        set("max", json!(9), "max = 9"),
        set("tasksPerExecutor", json!(5), "tasks_per_executor = 5"),
        set("idleTimeout", json!("7s"), "idle_timeout = \"7s\""),
        set("round", json!("7s"), "round = \"7s\""),
        set("coolDown", json!("7s"), "cool_down = \"7s\""),
        set("budgetSeconds", json!(700), "budget_seconds = 700"),
        set("budgetPeriod", json!("7h"), "budget_period = \"7h\""),
        set("startTimeout", json!("7min"), "start_timeout = \"7min\""),
        set("pendingTimeout", json!("7min"), "pending_timeout = \"7min\""),
        set("cpu", json!("500m"), "cpu = \"500m\""),
        set("memoryBytes", json!(7_000_000_000_u64), "memory_bytes = 7000000000"),
        set(
            "memoryOverheadBytes",
            json!(700_000_000),
            "memory_overhead_bytes = 700000000",
        ),
        set("scratchBytes", json!(70_000_000_000_u64), "scratch_bytes = 70000000000"),
    ];
    all.extend(of_pods("executor.sets[0]", TEMPLATE, "executor"));
    all.extend(maps_of_executors("executor.sets[0]"));
    all.extend(maps_of_sets());
    all
}
