//! A query through a release of the chart: its own configuration, its Deployment's pod, its executor pods, its Role.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use harness::{Client, Cluster, Node, Release, lakewing, render, rows, same_rows};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::{Value, json};

use crate::support::{PATIENCE, QUERY, data, expected, until_pods, until_ready};

/// The pods of the Deployment.
const SERVERS: [&str; 2] = ["lakewing-0", "lakewing-1"];

#[tokio::test(flavor = "multi_thread")]
async fn a_release_answers_on_pods() -> Result<()> {
    let data = data().await?;
    let expected = expected(data.path()).await?;
    let cluster = Cluster::start().await?;
    let _node = Node::start(&cluster.admin, "one", 100).await?;
    let release = cluster.release("lake").await?;
    let values = values(&release, data.path());
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": "auth", "namespace": "lake" },
        "stringData": { "users": users("alice", "wonder-land")?, "secret": "sixteen bytes and more" },
    });
    cluster.post(&secret, "").await?;
    let objects = render("lake", &values)?;
    let mut deployed = Value::Null;
    for object in objects {
        if object["kind"] == "Deployment" {
            deployed = object["spec"]["template"].clone();
        }
        // Those are there since the release is.
        let is_there =
            ["ServiceAccount", "Role", "RoleBinding", "Lease"].contains(&object["kind"].as_str().context("no kind")?);
        if !is_there {
            cluster.post(&object, "").await?;
        }
    }
    // What the controllers of Deployments do.
    let pods: Api<Pod> = release.api();
    let mut clients = Vec::new();
    for name in SERVERS {
        deployed["metadata"]["name"] = json!(name);
        let pod = serde_json::from_value(deployed.clone())?;
        pods.create(&PostParams::default(), &pod).await?;
        clients.push(Client::connect(ready(&pods, name).await?).await?);
    }
    let [first, second] = &mut clients[..] else {
        bail!("not two servers");
    };
    let refused = first.failure("SELECT 1").await?;
    ensure!(refused.code() == tonic::Code::Unauthenticated, "{refused}");
    first.login("alice", "wonder-land").await?;
    same_rows(QUERY, &expected, &rows(&first.query(QUERY).await?)?, true)?;
    until_ready(first, 2).await?;
    // What one of them signed the other accepts, and both use the same executors.
    let token = first.raw().token().context("no token")?.clone();
    second.raw().set_token(token);
    until_ready(second, 2).await?;
    same_rows(QUERY, &expected, &rows(&second.query(QUERY).await?)?, true)?;
    for pod in until_pods(&release, 4).await? {
        let spec = pod.spec.context("no spec")?;
        let name = pod.metadata.name.context("no name")?;
        let account = if SERVERS.contains(&&*name) {
            "lakewing"
        } else {
            "lakewing-executor"
        };
        let runs_as = spec.service_account_name;
        ensure!(runs_as.as_deref() == Some(account), "{name} runs as {runs_as:?}");
    }
    for name in SERVERS {
        pods.delete(name, &DeleteParams::default()).await?;
    }
    // Executors stay for the next server.
    until_pods(&release, 2).await?;
    Ok(())
}

/// The values of the release: tables are those in `data`.
fn values(release: &Release, data: &Path) -> Value {
    // With the account that a pod of a real cluster finds by itself.
    let kubeconfig = json!({ "name": "LAKEWING__EXECUTOR__MODE__KUBECONFIG", "value": release.kubeconfig });
    let config = format!(
        "default_catalog = \"delta\"\ndefault_namespace = \"tpch\"\n[catalogs.delta]\ntype = \"delta\"\nroot = \"file://{}\"\n\
         [executor]\nscan_bytes_per_partition = 65536\n",
        data.join("delta").display(),
    );
    json!({
        "image": { "repository": "lakewing", "tag": "test" },
        "config": config,
        "replicaCount": SERVERS.len(),
        "spool": { "location": data.join("spool") },
        "auth": { "existingSecret": "auth" },
        "server": { "extraEnv": [kubeconfig] },
        "executor": { "localScanBytesMax": 0, "sets": [
            { "name": "default", "max": 2, "idleTimeout": "5min", "tasksPerExecutor": 1, "round": "300ms", "memoryBytes": 1_073_741_824 },
        ] },
    })
}

/// A line of a file of users.
fn users(user: &str, password: &str) -> Result<String> {
    let mut command = Command::new(lakewing()?);
    command.args(["hash-password", "--user", user]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    std::io::Write::write_all(&mut child.stdin.take().context("no input")?, password.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "hash-password ended with {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Waits until the pod is ready; where its server listens.
async fn ready(pods: &Api<Pod>, name: &str) -> Result<SocketAddr> {
    let began = Instant::now();
    loop {
        let status = pods.get(name).await?.status.unwrap_or_default();
        let is_ready = status
            .container_statuses
            .iter()
            .flatten()
            .any(|container| container.ready);
        if let (true, Some(ip)) = (is_ready, &status.pod_ip) {
            return Ok(format!("{ip}:31415").parse()?);
        }
        ensure!(began.elapsed() < PATIENCE, "{name} does not get ready: {status:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
