//! How executors are made as pods: where the API server is, and what the pods of a set look like.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::invalid;
use crate::error::Result;

/// A label holds no more.
const LEASE_CHARS_MAX: usize = 63;

/// The pods of one release in one namespace.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// The Lease of this release (`coordination.k8s.io/v1`), default `lakewing`. It must exist: pods belong to it and go
    /// when it is deleted, they carry its name as a label, and the server that holds it decides how many there are.
    pub lease: String,
    /// The namespace of the Lease and the pods; default that of the server's own pod, or of the kubeconfig.
    pub namespace: Option<String>,
    /// A kubeconfig file, for servers outside the cluster; default the service account of the server's own pod.
    pub kubeconfig: Option<PathBuf>,
    /// The image of executors of sets that name none; it must be that of the server, since other versions are refused.
    pub image: Option<String>,
    /// The port that executors listen on at the address of their pod, default 31417.
    pub port: u16,
}

/// What a pod of one set looks like.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PodConfig {
    /// YAML file of a Pod that ours are made from: labels, tolerations, affinity, volumes, sidecars and whatever else a
    /// Pod can have. The executor is its container `executor`.
    pub template: Option<PathBuf>,
    /// The image, default `mode.image`.
    pub image: Option<String>,
    /// What the executor asks the scheduler for, as a quantity such as `2` or `500m`; default nothing.
    pub cpu: Option<String>,
    /// Bytes that all tasks of one executor may hold together. With `memory_overhead_bytes` they are the request and the
    /// limit of the pod. Default: the executor takes its share of the memory it finds.
    pub memory_bytes: Option<u64>,
    /// Bytes for what is not counted, such as rows on their way; default a tenth of `memory_bytes` and at least 384 MiB.
    /// Lower risks that the pod is killed.
    pub memory_overhead_bytes: Option<u64>,
    /// Size limit of the volume for spilled data; executors write nine tenths of it. Default: no limit but the node's.
    pub scratch_bytes: Option<u64>,
    /// How long a pod may take until it is ready before it is given up and deleted, default 5 min. Lower gives up before
    /// a new node has come.
    #[serde(with = "humantime_serde")]
    pub pending_timeout: Duration,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            lease: "lakewing".to_owned(),
            namespace: None,
            kubeconfig: None,
            image: None,
            port: 31417,
        }
    }
}

impl Default for PodConfig {
    fn default() -> Self {
        Self {
            template: None,
            image: None,
            cpu: None,
            memory_bytes: None,
            memory_overhead_bytes: None,
            scratch_bytes: None,
            pending_timeout: Duration::from_secs(5 * 60),
        }
    }
}

impl KubernetesConfig {
    /// Checks what the types cannot.
    pub(super) fn validate(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let edge = |c: Option<char>| c.is_some_and(|c| c != '-');
        let name = &self.lease;
        let fits = name.len() <= LEASE_CHARS_MAX && name.chars().all(plain);
        if !fits || !edge(name.chars().next()) || !edge(name.chars().last()) {
            return invalid(
                "mode.lease",
                "must be of lower-case letters, digits and -, at most 63, and begin and end with a letter or digit",
            );
        }
        match self.port {
            0 => invalid("mode.port", "must be between 1 and 65535"),
            _ => Ok(()),
        }
    }
}
