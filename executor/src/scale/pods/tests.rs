//! What becomes of templates, statuses and the Lease; the rest is seen against a real API server.

use std::sync::atomic::{AtomicUsize, Ordering};

use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::config::{Mode, PodConfig, SetConfig};
use meaning::{Meaning, meaning};

fn config() -> (Config, KubernetesConfig) {
    let kubernetes = KubernetesConfig {
        image: Some("lakewing:1".to_owned()),
        ..KubernetesConfig::default()
    };
    let config = Config {
        mode: Mode::Kubernetes(kubernetes.clone()),
        file: Some("/etc/lakewing/lakewing.toml".into()),
        ..Config::default()
    };
    (config, kubernetes)
}

fn template(text: &str, pod: PodConfig) -> std::result::Result<Value, String> {
    let (config, kubernetes) = config();
    let set = SetConfig {
        name: "spot".to_owned(),
        pod: Some(pod),
        ..SetConfig::default()
    };
    let ours = Ours::new(&config, &kubernetes, &set);
    let text = Some(text).filter(|text| !text.is_empty());
    let template = Template::new(text, &ours).map_err(|wrong| wrong.of_set(1).to_string())?;
    let owner = k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference {
        name: "lakewing".to_owned(),
        ..Default::default()
    };
    Ok(serde_json::to_value(template.pod("lakewing-spot-1", owner)).unwrap())
}

#[test]
fn a_pod_needs_no_template() {
    let pod = template("", PodConfig::default()).unwrap();
    assert_eq!(
        pod["metadata"]["labels"],
        json!({ MANAGED: "lakewing", RELEASE: "lakewing", SET: "spot" })
    );
    assert_eq!(pod["metadata"]["name"], "lakewing-spot-1");
    assert_eq!(pod["metadata"]["ownerReferences"][0]["name"], "lakewing");
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    assert_eq!(pod["spec"]["automountServiceAccountToken"], false);
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 45);
    assert_eq!(pod["spec"]["volumes"], json!([{ "name": "scratch", "emptyDir": {} }]));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], "lakewing:1");
    assert_eq!(
        container["args"],
        json!([
            "executor",
            "--listen",
            "$(POD_IP):31417",
            "--config",
            "/etc/lakewing/lakewing.toml"
        ])
    );
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 31417);
    assert_eq!(container["resources"], Value::Null);
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
}

#[test]
fn a_template_keeps_what_it_says() {
    let text = "
metadata:
  labels: {team: lake}
  annotations: {note: '1'}
spec:
  nodeSelector: {disk: fast}
  tolerations: [{key: spot, operator: Exists}]
  terminationGracePeriodSeconds: 300
  containers:
    - name: sidecar
      image: side:2
    - name: executor
      image: own:3
      env: [{name: AWS_REGION, value: eu}]
      resources: {limits: {cpu: '4'}}
  volumes:
    - name: scratch
      ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 9Gi}}}}}
";
    let gib = 1024 * 1024 * 1024;
    let sized = PodConfig {
        cpu: Some("2".to_owned()),
        memory_bytes: Some(10 * gib),
        scratch_bytes: Some(100),
        ..PodConfig::default()
    };
    let pod = template(text, sized).unwrap();
    assert_eq!(pod["metadata"]["labels"]["team"], "lake");
    assert_eq!(pod["metadata"]["annotations"]["note"], "1");
    assert_eq!(pod["spec"]["nodeSelector"]["disk"], "fast");
    assert_eq!(pod["spec"]["tolerations"][0]["key"], "spot");
    assert_eq!(pod["spec"]["terminationGracePeriodSeconds"], 300);
    assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
    assert!(pod["spec"]["volumes"][0]["ephemeral"].is_object());
    assert_eq!(pod["spec"]["containers"][0]["name"], "sidecar");
    let container = &pod["spec"]["containers"][1];
    assert_eq!(container["image"], "own:3");
    let memory = (11 * gib).to_string();
    assert_eq!(
        container["resources"],
        json!({ "limits": { "cpu": "4", "memory": memory }, "requests": { "cpu": "2", "memory": memory } })
    );
    let variables: Vec<_> = container["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["name"], &one["value"]))
        .collect();
    let expected = [
        (json!("POD_IP"), Value::Null),
        (
            json!("LAKEWING__EXECUTOR__SPILL_DIR"),
            json!("/var/lib/lakewing/scratch"),
        ),
        (json!("LAKEWING__EXECUTOR__SPILL_BYTES_MAX"), json!("90")),
        (
            json!("LAKEWING__EXECUTOR__MEMORY_BYTES_MAX"),
            json!((10 * gib).to_string()),
        ),
        (json!("AWS_REGION"), json!("eu")),
    ];
    assert_eq!(
        variables,
        expected.iter().map(|(name, value)| (name, value)).collect::<Vec<_>>()
    );
}

#[test]
fn a_template_that_contradicts_is_refused() {
    let check = |text: &str, message: &str| {
        let error = template(text, PodConfig::default()).unwrap_err();
        assert!(error.starts_with(&format!("sets.1.pod.template{message}")), "{error}");
    };
    check("a: [", ": is not YAML");
    check("kind: Deployment", ".kind: is \"Deployment\"");
    check("metadata: {name: mine}", ".metadata.name: must be left");
    check(
        "metadata: {ownerReferences: []}",
        ".metadata.ownerReferences: must be left",
    );
    check(
        "metadata: {labels: {lakewing.dev/release: b}}",
        ".metadata.labels.lakewing.dev/release: is",
    );
    check("metadata: 5", ".metadata: is not a map");
    check("spec: {restartPolicy: Always}", ".spec.restartPolicy: is \"Always\"");
    check(
        "spec: {terminationGracePeriodSeconds: 30}",
        ".spec.terminationGracePeriodSeconds: is 30",
    );
    check("spec: {containers: 5}", ".spec.containers: is not a list");
    check(
        "spec: {containers: [{name: executor, args: [sql]}]}",
        ".spec.containers.0.args: is",
    );
    check(
        "spec: {containers: [{name: executor, env: [{name: POD_IP, value: x}]}]}",
        ".spec.containers.0.env: must leave POD_IP",
    );
    check(
        "spec: {containers: [{name: executor, volumeMounts: [{name: scratch, mountPath: /tmp}]}]}",
        ".spec.containers.0.volumeMounts: must have scratch",
    );
    check("spec: {tolerations: 5}", ": is not a Pod");
}

#[test]
fn a_status_is_understood() {
    let check = |status: Value, expect: Meaning| {
        let pod = json!({ "metadata": { "name": "a" }, "status": status });
        assert_eq!(meaning(&serde_json::from_value(pod).unwrap()), expect);
    };
    let state = |state: Value, ready: bool| {
        json!({
            "podIP": "10.0.0.1",
            "containerStatuses": [
                { "name": "side", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": {} },
                { "name": "executor", "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state },
            ],
        })
    };
    let running = json!({ "running": {} });
    let ended = |code: i32, reason: &str| json!({ "terminated": { "exitCode": code, "reason": reason } });
    check(json!({}), Meaning::Coming(None));
    check(json!({ "phase": "Pending" }), Meaning::Coming(None));
    let unscheduled = json!([{ "type": "PodScheduled", "status": "False", "message": "0/3 nodes" }]);
    check(
        json!({ "conditions": unscheduled }),
        Meaning::Coming(Some("pod a finds no node: 0/3 nodes".to_owned())),
    );
    check(state(running.clone(), false), Meaning::Coming(None));
    check(state(running, true), Meaning::Runs("10.0.0.1".to_owned()));
    check(
        state(json!({ "waiting": { "reason": "ContainerCreating" } }), false),
        Meaning::Coming(None),
    );
    check(
        state(
            json!({ "waiting": { "reason": "ErrImagePull", "message": "no such" } }),
            false,
        ),
        Meaning::Stuck("the image of pod a cannot be pulled: no such".to_owned()),
    );
    check(state(ended(0, "Completed"), false), Meaning::Ended(None));
    check(
        state(ended(1, "Error"), false),
        Meaning::Ended(Some("pod a ended with exit code 1: Error".to_owned())),
    );
    check(
        state(ended(137, "OOMKilled"), false),
        Meaning::Ended(Some("pod a was killed: it used more memory than its limit".to_owned())),
    );
    check(
        json!({ "phase": "Failed", "reason": "Evicted", "message": "the node was low on memory" }),
        Meaning::Ended(Some("pod a ended: the node was low on memory".to_owned())),
    );
}

#[test]
fn a_deleted_pod_leaves() {
    let pod = json!({
        "metadata": { "name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z" },
        "status": { "conditions": [{ "type": "DisruptionTarget", "status": "True", "message": "the node goes" }] },
    });
    let expect = Meaning::Leaves("pod a is taken away: the node goes".to_owned());
    assert_eq!(meaning(&serde_json::from_value(pod).unwrap()), expect);
}

/// An API server that answers each call with what `script` makes of it, or breaks the connection.
pub(super) fn scripted(
    script: impl Fn(&http::Request<Body>) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> kube::Client {
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let answer = script(&request).map(|(code, value)| {
            let text = if value.is_null() {
                String::new()
            } else {
                value.to_string()
            };
            http::Response::builder()
                .status(code)
                .body(Body::from(text.into_bytes()))
                .unwrap()
        });
        async move { answer.ok_or_else(|| std::io::Error::other("cut")) }
    });
    kube::Client::new(service, "test")
}

fn status(code: u16, reason: &str, message: &str) -> Option<(u16, Value)> {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    Some((code, status))
}

#[tokio::test]
async fn failures_are_told_apart() {
    let check = async |answer: Option<(u16, Value)>, expect: Failure| {
        let client = scripted(move |_| answer.clone());
        let api: Api<Pod> = Api::namespaced(client, "test");
        assert_eq!(within(api.get("a")).await.unwrap_err(), expect);
    };
    let refused = |why: &str| Failure::Refused(why.to_owned());
    check(
        status(403, "Forbidden", "pods \"a\" is forbidden: exceeded quota: b"),
        refused("the quota of the namespace is exhausted: pods \"a\" is forbidden: exceeded quota: b"),
    )
    .await;
    check(
        status(403, "Forbidden", "no"),
        refused("the server's account is not allowed what it needs: no"),
    )
    .await;
    check(status(422, "Invalid", "no"), refused("the API server refuses: no")).await;
    check(status(409, "AlreadyExists", "no"), Failure::Exists).await;
    let busy = "the API server says that another was faster: no";
    check(status(409, "Conflict", "no"), Failure::Conflict(busy.to_owned())).await;
    let down = "the API server fails with 503: no";
    check(status(503, "", "no"), Failure::Unknown(down.to_owned())).await;
    let cut = "the API server cannot be reached: cut";
    check(None, Failure::Unknown(cut.to_owned())).await;
}

#[tokio::test]
async fn a_pod_whose_creation_is_unknown_is_asked_for_by_the_same_name() {
    let (config, kubernetes) = config();
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let client = scripted(move |request| {
        let lease = json!({ "metadata": { "name": "lakewing", "uid": "1" }, "spec": {} });
        let is_watch = request.uri().query().is_some_and(|query| query.contains("watch"));
        match (request.method().as_str(), request.uri().path().rsplit('/').next()) {
            (_, Some("lakewing")) => Some((200, lease)),
            ("POST", Some("events")) => Some((201, json!({}))),
            ("GET", _) if is_watch => Some((200, Value::Null)),
            ("GET", _) => Some((200, json!({ "metadata": { "resourceVersion": "1" }, "items": [] }))),
            ("POST", _) => match seen.fetch_add(1, Ordering::Relaxed) {
                0 => None,
                1 => status(500, "", "etcd is slow"),
                _ => status(409, "AlreadyExists", "it is there"),
            },
            other => panic!("{other:?}"),
        }
    });
    let fleet = Arc::new(Fleet::default());
    let stop = CancellationToken::new();
    let pods = Pods::over(
        (client, "test"),
        (&config, &kubernetes),
        Arc::clone(&fleet),
        Demand::default(),
        stop,
    );
    let pods = pods.await.unwrap();
    while pods.standing().is_err() {
        tokio::time::sleep(INTERVAL_MIN).await;
    }
    pods.start(&Arc::from("default"), "a query waits");
    let name = fleet.all().into_keys().next().unwrap();
    while pods.state().in_flight.contains(&name) {
        assert!(fleet.all().contains_key(&name), "it counts as there");
        tokio::time::sleep(INTERVAL_MIN).await;
    }
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(fleet.blocked("default").is_none());
    pods.shutdown().await;
}

/// A release over `client`, once it has heard of the Lease and of the pods, or why it has not.
async fn watched(client: kube::Client) -> (Arc<Pods>, Arc<Fleet>) {
    let (config, kubernetes) = config();
    let fleet = Arc::new(Fleet::default());
    let (demand, stop) = (Demand::default(), CancellationToken::new());
    let pods = Pods::over(
        (client, "test"),
        (&config, &kubernetes),
        Arc::clone(&fleet),
        demand,
        stop,
    );
    let pods = pods.await.unwrap();
    let unheard = |why: &str| why.contains("was not read yet") || why.contains("listed");
    while pods.standing().is_err_and(|why| unheard(&why)) {
        tokio::time::sleep(INTERVAL_MIN).await;
    }
    (pods, fleet)
}

/// What such an API server answers about the Lease, the pods in `items` and the watch of them.
fn reading(request: &http::Request<Body>, items: &Value) -> Option<(u16, Value)> {
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch"));
    match request.uri().path().rsplit('/').next() {
        Some("lakewing") => Some((
            200,
            json!({ "metadata": { "name": "lakewing", "uid": "1" }, "spec": {} }),
        )),
        _ if is_watch => Some((200, Value::Null)),
        _ => Some((200, json!({ "metadata": { "resourceVersion": "1" }, "items": items }))),
    }
}

#[tokio::test]
async fn what_is_there_is_adopted_and_what_has_ended_is_removed() {
    let pod = |name: &str, set: &str, state: Value, ready: bool| {
        json!({
            "metadata": { "name": name, "labels": { SET: set } },
            "status": {
                "podIP": "10.0.0.1",
                "containerStatuses": [
                    { "name": "executor", "image": "", "imageID": "", "ready": ready, "restartCount": 0, "state": state },
                ],
            },
        })
    };
    let running = json!({ "running": {} });
    let items = json!([
        pod("runs", "default", running.clone(), true),
        pod("comes", "default", running.clone(), false),
        pod(
            "killed",
            "default",
            json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } }),
            false
        ),
        pod("stranger", "gone", running, true),
    ]);
    let removed = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&removed);
    let client = scripted(move |request| {
        if request.method() == "DELETE" {
            seen.lock()
                .unwrap()
                .push(request.uri().path().rsplit('/').next().unwrap().to_owned());
            return Some((200, json!({ "metadata": { "name": "x" } })));
        }
        reading(request, &items)
    });
    let (pods, fleet) = watched(client).await;
    assert!(pods.standing().is_ok(), "{:?}", pods.standing());
    let addresses: Vec<_> = fleet
        .all()
        .into_iter()
        .map(|(name, started)| (name, started.address))
        .collect();
    let at = url::Url::parse("http://10.0.0.1:31417").unwrap();
    assert_eq!(addresses, [("comes".to_owned(), None), ("runs".to_owned(), Some(at))]);
    assert!(
        fleet.blocked("default").is_none(),
        "who ended before is no failure of now"
    );
    while removed.lock().unwrap().len() < 2 {
        tokio::time::sleep(INTERVAL_MIN).await;
    }
    let mut removed = removed.lock().unwrap().clone();
    removed.sort();
    removed.dedup();
    assert_eq!(removed, ["killed", "stranger"]);
    pods.shutdown().await;
}

#[tokio::test]
async fn a_refused_pod_is_not_there_and_told() {
    let client = scripted(|request| match request.method().as_str() {
        // That Events cannot be written changes nothing.
        "POST" => status(403, "Forbidden", "pods is forbidden: exceeded quota: pods"),
        _ => reading(request, &json!([])),
    });
    let (pods, fleet) = watched(client).await;
    pods.start(&Arc::from("default"), "a query waits");
    while fleet.blocked("default").is_none() {
        tokio::time::sleep(INTERVAL_MIN).await;
    }
    assert!(fleet.all().is_empty());
    let why = fleet.why_none("default");
    assert!(why.starts_with("the quota of the namespace is exhausted"), "{why}");
    pods.shutdown().await;
}

#[tokio::test]
async fn without_a_right_nobody_decides_and_the_right_is_named() {
    let check = async |refused: &'static str| {
        let client = scripted(move |request| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch"));
            let call = match (request.method().as_str(), request.uri().path().ends_with("/lakewing")) {
                ("GET", true) => "get",
                ("PUT", true) => "update",
                _ if is_watch => "watch",
                _ => "list",
            };
            match call == refused {
                true => status(403, "Forbidden", &format!("cannot {refused}")),
                false => reading(request, &json!([])),
            }
        });
        let (pods, _) = watched(client).await;
        let why = pods.standing().unwrap_err();
        let expect = format!("the server's account is not allowed what it needs: cannot {refused}");
        assert_eq!(why, expect);
        pods.shutdown().await;
    };
    for right in ["get", "update", "list", "watch"] {
        check(right).await;
    }
}
