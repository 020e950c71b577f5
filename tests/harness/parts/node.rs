//! A node of a test: it runs the pods that the scheduler gives it as processes of this machine, and tells the API server
//! how they are, as a kubelet does.
//!
//! Each pod has an address of its own in 127.1.0.0/16, so that all may listen on the same port. A volume is a folder: the
//! paths at which a container mounts one are replaced by it in the container's variables and arguments.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Container, Node as KubeNode, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::lakewing;
use super::volumes::provide;

/// The one image that this node has: the binary under test.
pub(crate) const IMAGE: &str = "lakewing:test";
/// How often a container is looked at.
const INTERVAL: Duration = Duration::from_millis(50);
/// Between two attempts to reach the API server.
const RETRY: Duration = Duration::from_millis(500);

/// A node that runs pods while this value lives.
pub struct Node {
    /// Its name.
    pub name: String,
    client: Client,
    kills: Arc<Mutex<HashMap<String, mpsc::Sender<()>>>>,
    _running: JoinSet<()>,
    _folder: TempDir,
}

impl Node {
    /// Registers a node with room for `pods` pods, and runs what it is given.
    pub async fn start(client: &Client, name: &str, pods: usize) -> Result<Self> {
        let nodes: Api<KubeNode> = Api::all(client.clone());
        let room = json!({ "cpu": "64", "memory": "256Gi", "pods": pods.to_string(), "ephemeral-storage": "1Ti" });
        let node: KubeNode = serde_json::from_value(json!({
            "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
            "status": {
                "capacity": room,
                "allocatable": room,
                "conditions": [{ "type": "Ready", "status": "True", "reason": "Test", "message": "" }],
            },
        }))?;
        nodes.create(&PostParams::default(), &node).await?;
        let folder = tempfile::tempdir()?;
        let kills = Arc::<Mutex<HashMap<_, _>>>::default();
        let agent = Agent {
            name: name.to_owned(),
            client: client.clone(),
            folder: folder.path().display().to_string(),
            kills: Arc::clone(&kills),
        };
        let mut running = JoinSet::new();
        running.spawn(agent.run());
        Ok(Self {
            name: name.to_owned(),
            client: client.clone(),
            kills,
            _running: running,
            _folder: folder,
        })
    }

    /// Kills the container of a pod as the system does that uses more memory than its limit.
    pub async fn kill_for_memory(&self, pod: &str) -> Result<()> {
        let kills = self.kills.lock().await;
        let kill = kills.get(pod).with_context(|| format!("{pod} does not run here"))?;
        kill.send(()).await?;
        Ok(())
    }

    /// Gives the node this taint, as whoever drains it does.
    pub async fn taint(&self, key: &str, effect: &str) -> Result<()> {
        let nodes: Api<KubeNode> = Api::all(self.client.clone());
        let taint = json!({ "spec": { "taints": [{ "key": key, "effect": effect }] } });
        nodes
            .patch(&self.name, &PatchParams::default(), &Patch::Merge(taint))
            .await?;
        Ok(())
    }
}

#[derive(Clone)]
struct Agent {
    name: String,
    client: Client,
    folder: String,
    kills: Arc<Mutex<HashMap<String, mpsc::Sender<()>>>>,
}

impl Agent {
    /// Starts what comes; what is deleted is told so. For ever.
    async fn run(self) {
        // Dropping the set ends what runs.
        let mut running = JoinSet::new();
        let mut known: HashMap<String, mpsc::Sender<i64>> = HashMap::new();
        loop {
            if let Err(error) = self.listen(&mut running, &mut known).await {
                eprintln!("node {}: {error:#}", self.name);
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn listen(&self, running: &mut JoinSet<()>, known: &mut HashMap<String, mpsc::Sender<i64>>) -> Result<()> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let mine = format!("spec.nodeName={}", self.name);
        let list = api.list(&ListParams::default().fields(&mine)).await?;
        for pod in list.items {
            self.seen(pod, running, known).await?;
        }
        let version = list.metadata.resource_version.unwrap_or_default();
        let params = WatchParams::default().fields(&mine);
        let mut events = api.watch(&params, &version).await?.boxed();
        while let Some(event) = events.try_next().await? {
            match event {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => self.seen(pod, running, known).await?,
                WatchEvent::Deleted(pod) => {
                    known.remove(&pod.metadata.uid.unwrap_or_default());
                }
                WatchEvent::Bookmark(_) => {}
                WatchEvent::Error(status) => bail!("{status:?}"),
            }
        }
        Ok(())
    }

    async fn seen(
        &self,
        pod: Pod,
        running: &mut JoinSet<()>,
        known: &mut HashMap<String, mpsc::Sender<i64>>,
    ) -> Result<()> {
        let uid = pod.metadata.uid.clone().context("a pod without uid")?;
        let grace = pod.metadata.deletion_timestamp.is_some().then(|| {
            let grace = pod.metadata.deletion_grace_period_seconds;
            grace.unwrap_or(0)
        });
        if !known.contains_key(&uid) {
            let (deletion, deleted) = mpsc::channel(4);
            known.insert(uid.clone(), deletion);
            let agent = self.clone();
            running.spawn(async move {
                let name = pod.metadata.name.clone().unwrap_or_default();
                if let Err(error) = agent.keep(pod, deleted).await {
                    eprintln!("pod {name}: {error:#}");
                }
            });
        }
        if let (Some(grace), Some(deletion)) = (grace, known.get(&uid)) {
            // The pod that was told once needs no more.
            deletion.try_send(grace).ok();
        }
        Ok(())
    }

    /// The whole life of one pod.
    async fn keep(&self, pod: Pod, mut deleted: mpsc::Receiver<i64>) -> Result<()> {
        static ADDRESSES: AtomicU16 = AtomicU16::new(1);
        let name = pod.metadata.name.clone().context("a pod without name")?;
        let namespace = pod.metadata.namespace.clone().context("a pod without namespace")?;
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &namespace);
        let spec = pod.spec.context("a pod without spec")?;
        let mut container = spec.containers.first().cloned().context("a pod without container")?;
        let teller = Teller {
            api,
            name: name.clone(),
            container: container.name.clone(),
        };
        if container.image.as_deref() != Some(IMAGE) {
            let image = container.image.unwrap_or_default();
            let message = format!("Back-off pulling image \"{image}\"");
            let waiting = json!({ "waiting": { "reason": "ImagePullBackOff", "message": message } });
            teller.tell("Pending", waiting, false, None).await;
            deleted.recv().await;
            return teller.remove().await;
        }
        let [third, fourth] = ADDRESSES.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let ip = Ipv4Addr::new(127, 1, third, fourth);
        let (killer, mut kill) = mpsc::channel(1);
        self.kills.lock().await.insert(name.clone(), killer);
        let folder = format!("{}/{name}", self.folder);
        provide((&self.client, &namespace), (&spec, ip), &mut container, &folder).await?;
        let mut child = start(&container, &folder, ip)?;
        let began = Timestamp::now().to_string();
        let running = json!({ "running": { "startedAt": began } });
        teller.tell("Running", running.clone(), false, Some(ip)).await;
        let port = container
            .ports
            .iter()
            .flatten()
            .next()
            .and_then(|port| u16::try_from(port.container_port).ok());
        let pod = Running {
            teller: &teller,
            ip,
            port,
            state: running,
        };
        let (status, for_memory, told) = pod.wait(&mut child, &mut deleted, &mut kill).await?;
        self.kills.lock().await.remove(&name);
        let ended = json!({ "terminated": terminated(status, for_memory) });
        let phase = if status.success() { "Succeeded" } else { "Failed" };
        teller.tell(phase, ended, false, Some(ip)).await;
        if !told {
            deleted.recv().await;
        }
        teller.remove().await
    }
}

/// A pod whose container runs.
struct Running<'a> {
    teller: &'a Teller,
    ip: Ipv4Addr,
    port: Option<u16>,
    state: Value,
}

impl Running<'_> {
    /// Waits for the end of `child`, and makes it: how it ended, whether for its memory, and whether it was told to.
    async fn wait(
        self,
        child: &mut Child,
        deleted: &mut mpsc::Receiver<i64>,
        kill: &mut mpsc::Receiver<()>,
    ) -> Result<(ExitStatus, bool, bool)> {
        let mut ready = false;
        let (mut ends, mut for_memory) = (None, false);
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                grace = deleted.recv(), if ends.is_none() => {
                    signal(child, "TERM");
                    let grace = u64::try_from(grace.unwrap_or(0)).unwrap_or(0);
                    ends = Some(tokio::time::Instant::now() + Duration::from_secs(grace));
                }
                Some(()) = kill.recv() => {
                    for_memory = true;
                    child.start_kill()?;
                }
                () = tokio::time::sleep(INTERVAL) => {
                    if !ready && let Some(port) = self.port {
                        ready = TcpStream::connect(SocketAddr::from((self.ip, port))).await.is_ok();
                        if ready {
                            self.teller.tell("Running", self.state.clone(), true, Some(self.ip)).await;
                        }
                    }
                    if ends.is_some_and(|at| tokio::time::Instant::now() >= at) {
                        child.start_kill()?;
                    }
                }
            }
        };
        Ok((status, for_memory, ends.is_some()))
    }
}

/// Tells the API server about one pod, again and again while it does not answer.
struct Teller {
    api: Api<Pod>,
    name: String,
    container: String,
}

impl Teller {
    async fn tell(&self, phase: &str, state: Value, ready: bool, ip: Option<Ipv4Addr>) {
        let truth = |yes: bool| if yes { "True" } else { "False" };
        let status = json!({ "status": {
            "phase": phase,
            "podIP": ip,
            "podIPs": ip.map(|ip| [json!({ "ip": ip })]),
            "conditions": [
                { "type": "PodScheduled", "status": "True" },
                { "type": "Ready", "status": truth(ready) },
            ],
            "containerStatuses": [{
                "name": self.container,
                "image": IMAGE,
                "imageID": "",
                "ready": ready,
                "restartCount": 0,
                "state": state,
            }],
        }});
        loop {
            let told = self
                .api
                .patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(&status))
                .await;
            match told {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code < 500 => {
                    eprintln!("pod {}: its status is refused: {}", self.name, status.message);
                    return;
                }
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    /// The pod is over: nothing of it is left here.
    async fn remove(&self) -> Result<()> {
        loop {
            match self
                .api
                .delete(&self.name, &DeleteParams::default().grace_period(0))
                .await
            {
                Ok(_) => return Ok(()),
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(kube::Error::Api(status)) if status.code < 500 => bail!("not removed: {}", status.message),
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }
}

fn start(container: &Container, folder: &str, ip: Ipv4Addr) -> Result<Child> {
    let mounts: BTreeMap<String, String> = container
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| (mount.mount_path.clone(), format!("{folder}/{}", mount.name)))
        .collect();
    for volume in mounts.values() {
        std::fs::create_dir_all(volume)?;
    }
    let mounted = |text: &str| {
        let volume = mounts.iter().find_map(|(path, volume)| {
            let inside = text.strip_prefix(&**path)?;
            (inside.is_empty() || inside.starts_with('/')).then(|| format!("{volume}{inside}"))
        });
        volume.unwrap_or_else(|| text.to_owned())
    };
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match field.map(|field| field.field_path.as_str()) {
            Some("status.podIP") => ip.to_string(),
            Some(other) => bail!("this node does not know the field {other}"),
            None => mounted(&variable.value.clone().unwrap_or_default()),
        };
        variables.insert(variable.name.clone(), value);
    }
    let mut command = Command::new(lakewing()?);
    for argument in container.args.iter().flatten() {
        let known = variables.iter();
        let expanded = known.fold(mounted(argument), |text, (name, value)| {
            text.replace(&format!("$({name})"), value)
        });
        command.arg(expanded);
    }
    command.envs(&variables).kill_on_drop(true);
    let log = std::fs::File::create(format!("{folder}.log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

fn signal(child: &Child, signal: &str) {
    if let Some(id) = child.id() {
        // An error means that it has ended.
        std::process::Command::new("kill")
            .args(["-s", signal, &id.to_string()])
            .status()
            .ok();
    }
}

fn terminated(status: ExitStatus, for_memory: bool) -> Value {
    let code = status.code().unwrap_or(137);
    let reason = match (for_memory, code) {
        (true, _) => "OOMKilled",
        (false, 0) => "Completed",
        (false, _) => "Error",
    };
    json!({ "exitCode": code, "reason": reason, "finishedAt": Timestamp::now().to_string() })
}
