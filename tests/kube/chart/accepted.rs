//! What the real API server says to the objects of the chart, and what the Role of the chart lets servers do.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use harness::{Cluster, Release, least_values, part, render};
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::cases::cases;
use super::{NAMESPACE, read_yaml, refused, rendered};

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_accepts_every_object() -> Result<()> {
    let cluster = Cluster::start().await?;
    define_kinds(&cluster).await?;
    namespace(&cluster, NAMESPACE).await?;
    let mut seen = BTreeSet::new();
    let all = [least_values(), refused::everything()].map(Ok);
    for values in cases().iter().map(|case| case.after()).chain(all) {
        for object in rendered(&values?)? {
            for object in with_pods(object)? {
                if seen.insert(object.to_string()) {
                    cluster.post(&object, "&dryRun=All").await?;
                }
            }
        }
    }
    ensure!(seen.len() > 200, "only {} objects differ", seen.len());
    for (name, values) in [("least", least_values()), ("everything", refused::everything())] {
        namespace(&cluster, name).await?;
        let mut objects = render(name, &values)?;
        // Pods need their account.
        objects.sort_by_key(|object| object["kind"] != "ServiceAccount");
        for object in objects {
            cluster.post(&object, "").await?;
        }
    }
    let unknown = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a", "namespace": NAMESPACE }, "dat": {} });
    let refused = cluster.post(&unknown, "&dryRun=All").await;
    ensure!(refused.is_err(), "unknown fields are not noticed");
    Ok(())
}

/// `object`, and the pods that servers would make of its templates.
fn with_pods(mut object: Value) -> Result<Vec<Value>> {
    let mut all = Vec::new();
    if object["kind"] == "Pod" {
        object["spec"]["serviceAccountName"] = json!("default");
    }
    let files = object["data"].as_object().into_iter().flatten();
    for (file, text) in files.filter(|(file, _)| file.ends_with(".yaml")) {
        let mut pod: Value = serde_saphyr::from_str(text.as_str().context(file.clone())?)?;
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("executor");
        pod["metadata"]["namespace"] = json!(NAMESPACE);
        // What the server adds, where the API server asks for it; the accounts are only rendered here.
        pod["spec"]["serviceAccountName"] = json!("default");
        let containers = pod["spec"]["containers"].as_array_mut().context("no containers")?;
        let executor = containers.iter_mut().find(|container| container["name"] == "executor");
        executor.context("no executor")?["image"] = json!("lakewing:test");
        all.push(pod);
    }
    all.push(object);
    Ok(all)
}

async fn namespace(cluster: &Cluster, name: &str) -> Result<()> {
    let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
    cluster.post(&object, "").await?;
    let metadata = json!({ "name": "default", "namespace": name });
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata });
    cluster.post(&account, "").await
}

/// The kinds of cert-manager, the Gateway API and the Prometheus Operator, by their own definitions.
async fn define_kinds(cluster: &Cluster) -> Result<()> {
    let folder = part("crds")?;
    for (file, kind) in [
        (
            "cert-manager.io_certificates.yaml",
            "cert-manager.io/v1/namespaces/default/certificates",
        ),
        (
            "gateway.networking.k8s.io_grpcroutes.yaml",
            "gateway.networking.k8s.io/v1/namespaces/default/grpcroutes",
        ),
        (
            "monitoring.coreos.com_servicemonitors.yaml",
            "monitoring.coreos.com/v1/namespaces/default/servicemonitors",
        ),
    ] {
        cluster.post(&read_yaml(&folder.join(file))?, "").await?;
        let deadline = std::time::Instant::now() + crate::support::PATIENCE;
        loop {
            let listed = http::Request::get(format!("/apis/{kind}")).body(Vec::new())?;
            match cluster.admin.request_text(listed).await {
                Ok(_) => break,
                Err(error) if std::time::Instant::now() > deadline => return Err(error).context(kind),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    }
    Ok(())
}

/// Verbs that the API server knows for most kinds.
const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];
/// Groups and kinds that a server might want.
const RESOURCES: [(&str, &str); 19] = [
    ("", "pods"),
    ("", "pods/exec"),
    ("", "pods/log"),
    ("", "pods/status"),
    ("", "pods/eviction"),
    ("", "pods/ephemeralcontainers"),
    ("", "secrets"),
    ("", "configmaps"),
    ("", "events"),
    ("", "services"),
    ("", "serviceaccounts"),
    ("", "serviceaccounts/token"),
    ("", "persistentvolumeclaims"),
    ("", "nodes"),
    ("", "namespaces"),
    ("apps", "deployments"),
    ("coordination.k8s.io", "leases"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "rolebindings"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_role_allows_what_is_needed_and_nothing_else() -> Result<()> {
    let cluster = Cluster::start().await?;
    let ours = cluster.release("ours").await?.namespace;
    cluster.release("theirs").await?;
    let mut allowed = BTreeSet::new();
    for namespace in [ours.as_str(), "theirs", ""] {
        for (group, resource) in RESOURCES {
            for verb in VERBS {
                for name in ["", "lakewing", "other"] {
                    let asked = Asked {
                        namespace,
                        group,
                        resource,
                        verb,
                        name,
                    };
                    if asked.allowed(&cluster.admin, "lakewing").await? {
                        allowed.insert(format!("{namespace}: {verb} {resource} {name}").trim_end().to_owned());
                    }
                }
            }
        }
    }
    let mut expected = BTreeSet::new();
    for verb in ["create", "delete", "list", "watch"] {
        expected.extend(["", " lakewing", " other"].map(|name| format!("ours: {verb} pods{name}")));
    }
    expected.extend(["get", "update"].map(|verb| format!("ours: {verb} leases lakewing")));
    ensure!(allowed == expected, "allowed {allowed:?}");
    let rules = Release::rules()?.to_string();
    ensure!(!rules.contains('*'), "{rules}");
    for verb in VERBS {
        let asked = Asked {
            namespace: &ours,
            group: "",
            resource: "pods",
            verb,
            name: "",
        };
        ensure!(
            !asked.allowed(&cluster.admin, "lakewing-executor").await?,
            "executors may {verb} pods"
        );
    }
    Ok(())
}

/// One question about a right.
struct Asked<'a> {
    namespace: &'a str,
    group: &'a str,
    resource: &'a str,
    verb: &'a str,
    name: &'a str,
}

impl Asked<'_> {
    /// Whether the account of the release `ours` has it.
    async fn allowed(&self, client: &Client, account: &str) -> Result<bool> {
        let (resource, part) = self.resource.split_once('/').unwrap_or((self.resource, ""));
        let review: SubjectAccessReview = serde_json::from_value(json!({ "spec": {
            "user": format!("system:serviceaccount:ours:{account}"),
            "groups": ["system:serviceaccounts", "system:serviceaccounts:ours", "system:authenticated"],
            "resourceAttributes": {
                "namespace": self.namespace,
                "group": self.group,
                "resource": resource,
                "subresource": part,
                "verb": self.verb,
                "name": self.name,
            },
        } }))?;
        let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.context("no answer")?.allowed)
    }
}
