//! A real Kubernetes API server with etcd and scheduler, and what a test asks of it. Nodes are those of [`super::node`].
//! There are no controllers: nothing is collected, counted or evicted unless the test does it.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Namespace, Pod, ResourceQuota, ServiceAccount};
use k8s_openapi::api::rbac::v1::Role;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;

use super::{chart, part};
use crate::{Process, free_port};

/// The token of the account that may do everything.
const ADMIN: &str = "admin";
/// The token of the scheduler.
const SCHEDULER: &str = "scheduler";
/// The account of Lakewing servers, and the Lease of their release.
const SERVER: &str = chart::RELEASE;

/// An API server, etcd behind it, the scheduler before it.
pub struct Cluster {
    /// The client of the account that may do everything.
    pub admin: Client,
    api_server: Option<Process>,
    port: u16,
    etcd: String,
    processes: Vec<Process>,
    folder: TempDir,
}

impl Cluster {
    /// Starts all of it, and waits until the API server answers.
    pub async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = free_port()?;
        certificates(folder.path())?;
        let tokens = [
            (ADMIN, ADMIN, "system:masters"),
            (SCHEDULER, "system:kube-scheduler", ""),
        ];
        let tokens = tokens.map(|(token, user, group)| format!("{token},{user},{user},\"{group}\"\n"));
        std::fs::write(folder.path().join("tokens.csv"), tokens.concat())?;
        let (etcd, etcd_url) = start_etcd(folder.path()).await?;
        let file = kubeconfig(folder.path(), port, ADMIN, ADMIN)?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(Kubeconfig::read_from(file)?, &options).await?;
        let mut cluster = Self {
            admin: Client::try_from(config)?,
            api_server: None,
            port,
            etcd: etcd_url,
            processes: vec![etcd],
            folder,
        };
        cluster.start_api_server().await?;
        let mut scheduler = Command::new(part("kube")?.join("kube-scheduler"));
        let file = kubeconfig(cluster.folder.path(), port, "kube-scheduler", SCHEDULER)?;
        scheduler.arg("--kubeconfig").arg(file);
        scheduler.args(["--leader-elect=false", "--secure-port=0"]);
        let scheduler = Process::start("kube-scheduler", scheduler, cluster.folder.path())?;
        cluster.processes.push(scheduler);
        Ok(cluster)
    }

    /// Starts the API server, which must not run.
    pub async fn start_api_server(&mut self) -> Result<()> {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let mut command = Command::new(part("kube")?.join("kube-apiserver"));
        command.args([
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            // Nodes are ready when they say so; no controller has to find that out.
            "--disable-admission-plugins=TaintNodesByCondition",
        ]);
        command.args([
            format!("--secure-port={}", self.port),
            format!("--etcd-servers={}", self.etcd),
            format!("--tls-cert-file={}", file("server.pem")),
            format!("--tls-private-key-file={}", file("server.key")),
            // The public half is read from the certificate; a private key in PKCS#8 is not taken for it.
            format!("--service-account-key-file={}", file("server.pem")),
            format!("--service-account-signing-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
        ]);
        let mut process = Process::start("kube-apiserver", command, self.folder.path())?;
        let ready = async || match http::Request::get("/readyz").body(Vec::new()) {
            Ok(request) => self.admin.request_text(request).await.is_ok(),
            Err(_) => false,
        };
        process.ready_within(Duration::from_secs(180), ready).await?;
        self.api_server = Some(process);
        Ok(())
    }

    /// Ends the API server as a crash would.
    pub fn stop_api_server(&mut self) -> Result<()> {
        self.api_server.take().context("the API server does not run")?.kill()
    }

    /// Creates `object`, in its own namespace if it says one. Fields that the API server does not know are an error.
    /// `query` is what else the request says, such as `&dryRun=All`.
    pub async fn post(&self, object: &Value, query: &str) -> Result<()> {
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no text");
        let (version, kind) = (text(&object["apiVersion"])?, text(&object["kind"])?.to_lowercase());
        let group = if version == "v1" {
            "/api/v1".to_owned()
        } else {
            format!("/apis/{version}")
        };
        let scope = object["metadata"]["namespace"].as_str();
        let scope = scope.map(|namespace| format!("/namespaces/{namespace}"));
        let plural = match (kind.strip_suffix('y'), kind.ends_with('s')) {
            (Some(stem), _) => format!("{stem}ies"),
            (None, true) => format!("{kind}es"),
            (None, false) => format!("{kind}s"),
        };
        let path = format!(
            "{group}{}/{plural}?fieldValidation=Strict{query}",
            scope.unwrap_or_default()
        );
        let request = http::Request::post(&path).header("content-type", "application/json");
        let asked = self
            .admin
            .request_text(request.body(object.to_string().into_bytes())?)
            .await;
        asked.map(drop).with_context(|| format!("{path}: {object}"))
    }

    /// A namespace with all that a release of Lakewing has but its server, from its chart: account, role, Lease.
    pub async fn release(&self, namespace: &str) -> Result<Release> {
        let made: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } }))?;
        create(&Api::all(self.admin.clone()), &made).await?;
        let release = Release {
            admin: self.admin.clone(),
            namespace: namespace.to_owned(),
            kubeconfig: self.folder.path().join(format!("{namespace}.kubeconfig")),
        };
        // Pods name it though they do not use it; a controller makes it in other clusters.
        let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "default" } }))?;
        create(&release.api(), &account).await?;
        for object in chart::render(namespace, &chart::least_values())? {
            let kind = object["kind"].as_str().unwrap_or_default();
            if ["ServiceAccount", "Role", "RoleBinding", "Lease"].contains(&kind) {
                self.post(&object, "").await?;
            }
        }
        let request: TokenRequest =
            serde_json::from_value(json!({ "spec": { "audiences": [], "expirationSeconds": 3600 } }))?;
        let accounts: Api<ServiceAccount> = release.api();
        let granted = accounts
            .create_token_request(SERVER, &PostParams::default(), &request)
            .await?;
        let token = granted.status.context("no token was granted")?.token;
        kubeconfig(self.folder.path(), self.port, namespace, &token)?;
        Ok(release)
    }
}

/// One namespace for one release of Lakewing.
pub struct Release {
    admin: Client,
    /// Its name.
    pub namespace: String,
    /// How a server of the release reaches the API server, with the rights of its role.
    pub kubeconfig: PathBuf,
}

impl Release {
    /// What a server may do: the Role of the chart.
    pub fn rules() -> Result<Value> {
        chart::rules()
    }

    /// Gives the servers other rights from now on.
    pub async fn allow(&self, rules: &Value) -> Result<()> {
        let roles: Api<Role> = self.api();
        let mut role = roles.get(SERVER).await?;
        role.rules = serde_json::from_value(rules.clone())?;
        roles.replace(SERVER, &PostParams::default(), &role).await?;
        Ok(())
    }

    /// The objects of one kind, with all rights.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.admin.clone(), &self.namespace)
    }

    /// Takes a pod away as whoever drains a node does.
    pub async fn evict(&self, pod: &str) -> Result<()> {
        self.api::<Pod>().evict(pod, &EvictParams::default()).await?;
        Ok(())
    }

    /// Lets the release have so many pods, which is counted from now on.
    pub async fn quota(&self, pods: usize) -> Result<()> {
        let quotas: Api<ResourceQuota> = self.api();
        let hard = json!({ "hard": { "pods": pods.to_string() } });
        let quota: ResourceQuota = serde_json::from_value(json!({ "metadata": { "name": "pods" }, "spec": hard }))?;
        if quotas.get_opt("pods").await?.is_some() {
            quotas
                .patch("pods", &PatchParams::default(), &Patch::Merge(json!({ "spec": hard })))
                .await?;
        } else {
            create(&quotas, &quota).await?;
        }
        // What a controller finds; from here on the API server counts.
        let mut status = hard;
        status["used"] = json!({ "pods": "0" });
        let status = Patch::Merge(json!({ "status": status }));
        quotas.patch_status("pods", &PatchParams::default(), &status).await?;
        Ok(())
    }

    /// The pods that are there.
    pub async fn pods(&self) -> Result<Vec<Pod>> {
        Ok(self.api().list(&ListParams::default()).await?.items)
    }

    /// The mode of a server of this release.
    pub fn mode(&self) -> String {
        let Self {
            namespace, kubeconfig, ..
        } = self;
        format!(
            "{{ type = \"kubernetes\", namespace = {namespace:?}, kubeconfig = {kubeconfig:?}, image = {:?} }}",
            super::node::IMAGE
        )
    }
}

async fn create<K>(api: &Api<K>, object: &K) -> Result<K>
where
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    Ok(api.create(&PostParams::default(), object).await?)
}

/// A file that holds the address of the API server and who asks.
fn kubeconfig(folder: &Path, port: u16, name: &str, token: &str) -> Result<PathBuf> {
    let file = folder.join(format!("{name}.kubeconfig"));
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{
            "name": "test",
            "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": folder.join("authority.pem"),
            },
        }],
        "users": [{ "name": name, "user": { "token": token } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": name } }],
        "current-context": "test",
    });
    std::fs::write(&file, config.to_string())?;
    Ok(file)
}

/// An authority, and a certificate of it for 127.0.0.1.
fn certificates(folder: &Path) -> Result<()> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.join("authority.pem"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
    let here = SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST));
    params.subject_alt_names.push(here);
    std::fs::write(folder.join("server.pem"), params.signed_by(&key, &issuer)?.pem())?;
    std::fs::write(folder.join("server.key"), key.serialize_pem())?;
    Ok(())
}

async fn start_etcd(folder: &Path) -> Result<(Process, String)> {
    let address = format!("127.0.0.1:{}", free_port()?);
    let (clients, peers) = (
        format!("http://{address}"),
        format!("http://127.0.0.1:{}", free_port()?),
    );
    let mut command = Command::new(part("etcd")?.join("etcd"));
    command.arg("--data-dir").arg(folder.join("etcd"));
    command.args(["--unsafe-no-fsync", "--log-level=warn"]);
    command.args([
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ]);
    let mut process = Process::start("etcd", command, folder)?;
    process
        .ready(async || TcpStream::connect(&address).await.is_ok())
        .await?;
    Ok((process, clients))
}
