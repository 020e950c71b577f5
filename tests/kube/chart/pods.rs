//! Values that servers, executors and single sets of executors have alike.

use serde_json::{Value, json};

use super::values::{Case, case};

/// What is the same in all three: below `block`, of the pod at `pod`, whose container is `name`.
pub(super) fn of_pods(block: &str, pod: &str, name: &str) -> Vec<Case> {
    let spec = |key: &str, value: Value| {
        let place = format!("{pod}/spec/{key}");
        case(format!("{block}.{key}"), value.clone()).shows(place, value)
    };
    let container = format!("{pod}/spec/containers/@{name}");
    let volume = |name: &str| format!("{pod}/spec/volumes/@{name}");
    let mount = |name: &str| format!("{container}/volumeMounts/@{name}/mountPath");
    let toleration = json!([{ "key": "spot", "operator": "Exists" }]);
    let spread = json!([{ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway" }]);
    let affinity = json!({ "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
        { "matchExpressions": [{ "key": "disk", "operator": "Exists" }] },
    ] } } });
    let helper = json!([{ "name": "helper", "image": "helper:1" }]);
    let empty = json!([{ "name": "more", "emptyDir": {} }]);
    let mounted = json!([{ "name": "more", "mountPath": "/more" }]);
    let key = |key: &str| format!("{block}.{key}");
    vec![
        spec("terminationGracePeriodSeconds", json!(99)),
        spec("nodeSelector", json!({ "disk": "nvme" })),
        spec("tolerations", toleration),
        spec("affinity", affinity),
        spec("topologySpreadConstraints", spread),
        spec("priorityClassName", json!("system-cluster-critical")),
        spec("initContainers", helper.clone()),
        case(key("podAnnotations"), json!({ "a/b": "c" }))
            .shows(format!("{pod}/metadata/annotations/a~1b"), json!("c")),
        case(key("podLabels"), json!({ "team": "data" })).shows(format!("{pod}/metadata/labels/team"), json!("data")),
        case(key("extraEnv"), json!([{ "name": "A", "value": "b" }]))
            .shows(format!("{container}/env/@A/value"), json!("b")),
        case(key("envFrom"), json!([{ "configMapRef": { "name": "more" } }]))
            .shows(format!("{container}/envFrom/0/configMapRef/name"), json!("more")),
        case(key("extraVolumes"), empty.clone()).shows(format!("{}/emptyDir", volume("more")), json!({})),
        case(key("extraVolumeMounts"), mounted)
            .along(key("extraVolumes"), empty)
            .shows(mount("more"), json!("/more")),
        case(
            key("configMounts"),
            json!([{ "name": "rules", "configMap": "rules", "path": "/rules" }]),
        )
        .shows(format!("{}/configMap/name", volume("rules")), json!("rules"))
        .shows(mount("rules"), json!("/rules")),
        case(
            key("secretMounts"),
            json!([{ "name": "keys", "secret": "keys", "path": "/keys" }]),
        )
        .shows(format!("{}/secret/secretName", volume("keys")), json!("keys"))
        .shows(mount("keys"), json!("/keys")),
        case(key("sidecars"), helper).shows(format!("{pod}/spec/containers/@helper/image"), json!("helper:1")),
        case(
            key("extraPodSpec"),
            json!({ "hostAliases": [{ "ip": "10.0.0.1", "hostnames": ["a"] }] }),
        )
        .shows(format!("{pod}/spec/hostAliases/0/ip"), json!("10.0.0.1")),
    ]
}

/// The values below `block` that have a place in the container or the pod at the same path.
pub(super) fn defaults_of_pods(block: &str, pod: &str, name: &str) -> Vec<Case> {
    let container = format!("{pod}/spec/containers/@{name}");
    let same = |key: &str, value: Value| {
        let path = key.replace('.', "/");
        let place = match key.strip_prefix("podSecurityContext.") {
            Some(rest) => format!("{pod}/spec/securityContext/{}", rest.replace('.', "/")),
            None => format!("{container}/{path}"),
        };
        case(format!("{block}.{key}"), value.clone()).shows(place, value)
    };
    vec![
        same("podSecurityContext.runAsNonRoot", json!(false)),
        same("podSecurityContext.runAsUser", json!(1000)),
        same("podSecurityContext.runAsGroup", json!(1000)),
        same("podSecurityContext.fsGroup", json!(1000)),
        same("podSecurityContext.seccompProfile.type", json!("Unconfined")),
        same("securityContext.allowPrivilegeEscalation", json!(true)),
        same("securityContext.readOnlyRootFilesystem", json!(false)),
        same("securityContext.capabilities.drop", json!(["NET_RAW"])),
        same("readinessProbe.periodSeconds", json!(7)),
        same("livenessProbe.periodSeconds", json!(7)),
        same("livenessProbe.failureThreshold", json!(7)),
    ]
}

/// The values that only servers have by default.
pub(super) fn defaults_of_servers() -> Vec<Case> {
    let container = "Deployment/spec/template/spec/containers/@server";
    let same = |key: &str, value: Value| {
        let place = format!("{container}/{}", key.replace('.', "/"));
        case(format!("server.{key}"), value.clone()).shows(place, value)
    };
    vec![
        same("resources.requests.cpu", json!("3")),
        same("resources.requests.memory", json!("3Gi")),
        same("resources.limits.memory", json!("3Gi")),
        same("startupProbe.tcpSocket.port", json!(4000)),
        same("readinessProbe.httpGet.path", json!("/other")),
        same("readinessProbe.httpGet.port", json!(4000)),
        same("livenessProbe.httpGet.path", json!("/other")),
        same("livenessProbe.httpGet.port", json!(4000)),
        same("startupProbe.periodSeconds", json!(7)),
        same("startupProbe.failureThreshold", json!(7)),
        same("lifecycle.preStop.sleep.seconds", json!(7)),
    ]
}

/// The values that only executors have by default.
pub(super) fn defaults_of_executors() -> Vec<Case> {
    let port = |probe: &str| {
        let place = format!("template:default/spec/containers/@executor/{probe}/tcpSocket/port");
        case(format!("executor.{probe}.tcpSocket.port"), json!(4000)).shows(place, json!(4000))
    };
    vec![port("readinessProbe"), port("livenessProbe")]
}

/// What is empty by default below `block` of executors, and in a set: whole maps.
pub(super) fn maps_of_executors(block: &str) -> Vec<Case> {
    let probe = json!({ "tcpSocket": { "port": "executor" }, "periodSeconds": 9 });
    let container = |key: &str, value: Value| {
        let place = format!("template:default/spec/containers/@executor/{key}");
        case(format!("{block}.{key}"), value.clone()).shows(place, value)
    };
    vec![
        container("resources", json!({ "limits": { "cpu": "3" } })),
        container("lifecycle", json!({ "preStop": { "sleep": { "seconds": 3 } } })),
        container("startupProbe", probe),
    ]
}

/// The maps of a set that executors have by default: they replace those.
pub(super) fn maps_of_sets() -> Vec<Case> {
    let block = "executor.sets[0]";
    let probe = json!({ "tcpSocket": { "port": "executor" }, "periodSeconds": 9 });
    let pod = "template:default/spec";
    let whole =
        |key: &str, place: String, value: Value| case(format!("{block}.{key}"), value.clone()).shows(place, value);
    let container = |key: &str| format!("{pod}/containers/@executor/{key}");
    vec![
        whole(
            "podSecurityContext",
            format!("{pod}/securityContext"),
            json!({ "runAsUser": 1000 }),
        ),
        whole(
            "securityContext",
            container("securityContext"),
            json!({ "runAsUser": 1000 }),
        ),
        whole("readinessProbe", container("readinessProbe"), probe.clone()),
        whole("livenessProbe", container("livenessProbe"), probe),
    ]
}
