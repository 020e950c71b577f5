//! The pod of an executor: a user's template with what this server decides put into it. A template that decides the same
//! things otherwise is refused at the start, not at the first query.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::{Value, json};

use super::{CONTAINER, MANAGED, MANAGER, RELEASE, SET};
use crate::config::{Config, KubernetesConfig, PodConfig, SetConfig};
use crate::error::{Error, Result};

/// Volume and folder of spilled data.
const SCRATCH: &str = "scratch";
const SCRATCH_PATH: &str = "/var/lib/lakewing/scratch";
/// Beyond its own grace period an executor gets so long to end.
const GRACE_MARGIN_SECONDS: u64 = 15;
/// Least memory of a pod that is not counted.
const OVERHEAD_BYTES_MIN: u64 = 384 * 1024 * 1024;

/// What the server decides about the pods of one set.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    release: String,
    set: String,
    /// The image, unless the template names one.
    image: Option<String>,
    port: u16,
    arguments: Vec<String>,
    grace_seconds: u64,
    pod: PodConfig,
}

impl Ours {
    pub(super) fn new(config: &Config, kubernetes: &KubernetesConfig, set: &SetConfig) -> Self {
        let pod = set.pod.clone().unwrap_or_default();
        let listen = format!("$(POD_IP):{}", kubernetes.port);
        let mut arguments = vec!["executor".to_owned(), "--listen".to_owned(), listen];
        if let Some(file) = &config.file {
            arguments.extend(["--config".to_owned(), file.display().to_string()]);
        }
        Self {
            release: kubernetes.lease.clone(),
            set: set.name.clone(),
            image: pod.image.clone().or_else(|| kubernetes.image.clone()),
            port: kubernetes.port,
            arguments,
            grace_seconds: config.grace.as_secs(),
            pod,
        }
    }
}

/// A checked template.
#[derive(Debug, Clone)]
pub(super) struct Template(Pod);

impl Template {
    /// `text`, YAML of a Pod or nothing, with `ours`.
    ///
    /// # Errors
    /// What contradicts us, and where, below the template.
    pub(super) fn new(text: Option<&str>, ours: &Ours) -> Result<Self, Wrong> {
        let mut pod: Value = match text {
            Some(text) => serde_saphyr::from_str(text).map_err(|error| wrong("", &format!("is not YAML: {error}")))?,
            None => json!({}),
        };
        put(&mut pod, &["apiVersion"], json!("v1"))?;
        put(&mut pod, &["kind"], json!("Pod"))?;
        for key in ["name", "generateName", "namespace", "ownerReferences"] {
            if !at(&mut pod, &["metadata", key])?.is_null() {
                return Err(wrong(&format!(".metadata.{key}"), "must be left to the server"));
            }
        }
        for (label, value) in [(MANAGED, MANAGER), (RELEASE, &ours.release), (SET, &ours.set)] {
            put(&mut pod, &["metadata", "labels", label], json!(value))?;
        }
        put(&mut pod, &["spec", "restartPolicy"], json!("Never"))?;
        grace(&mut pod, ours)?;
        default(&mut pod, &["spec", "automountServiceAccountToken"], json!(false))?;
        default(
            &mut pod,
            &["spec", "securityContext"],
            json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } }),
        )?;
        let volumes = list(&mut pod, &["spec", "volumes"])?;
        if !volumes.iter().any(|volume| volume["name"] == SCRATCH) {
            let limit = ours.pod.scratch_bytes.map(|bytes| bytes.to_string());
            volumes.push(json!({ "name": SCRATCH, "emptyDir": { "sizeLimit": limit } }));
        }
        let containers = list(&mut pod, &["spec", "containers"])?;
        let found = containers.iter().position(|container| container["name"] == CONTAINER);
        let index = found.unwrap_or_else(|| {
            containers.insert(0, json!({ "name": CONTAINER }));
            0
        });
        container(&mut containers[index], ours).map_err(|wrong| wrong.below(&format!(".spec.containers.{index}")))?;
        let pod = serde_json::from_value(without_nulls(pod));
        pod.map(Self)
            .map_err(|error| wrong("", &format!("is not a Pod: {error}")))
    }

    /// The pod of that name, which goes when `owner` does.
    pub(super) fn pod(&self, name: &str, owner: OwnerReference) -> Pod {
        let mut pod = self.0.clone();
        pod.metadata.name = Some(name.to_owned());
        pod.metadata.owner_references = Some(vec![owner]);
        pod
    }
}

/// A part of a template that cannot be, by its path below the template.
#[derive(Debug)]
pub(super) struct Wrong {
    path: String,
    detail: String,
}

impl Wrong {
    fn below(self, path: &str) -> Self {
        Self {
            path: format!("{path}{}", self.path),
            ..self
        }
    }

    /// As an error of the configuration: the template of the set `index`.
    pub(super) fn of_set(self, index: usize) -> Error {
        Error::Config {
            key: format!("sets.{index}.pod.template{}", self.path),
            detail: self.detail,
        }
    }
}

fn grace(pod: &mut Value, ours: &Ours) -> Result<(), Wrong> {
    let path = ["spec", "terminationGracePeriodSeconds"];
    default(pod, &path, json!(ours.grace_seconds + GRACE_MARGIN_SECONDS))?;
    let given = at(pod, &path)?;
    match given.as_u64() {
        Some(seconds) if seconds > ours.grace_seconds => Ok(()),
        _ => Err(wrong(
            ".spec.terminationGracePeriodSeconds",
            &format!(
                "is {given}, and must be longer than executor.grace, {} s",
                ours.grace_seconds
            ),
        )),
    }
}

fn container(container: &mut Value, ours: &Ours) -> Result<(), Wrong> {
    if container["image"].is_null() {
        let needed = || wrong(".image", "is needed here, in pod.image or in mode.image");
        put(container, &["image"], json!(ours.image.as_ref().ok_or_else(needed)?))?;
    }
    put(container, &["args"], json!(ours.arguments))?;
    resources(container, &ours.pod)?;
    variables(container, &ours.pod)?;
    let ports = list(container, &["ports"])?;
    if !ports.iter().any(|port| port["containerPort"] == ours.port) {
        ports.push(json!({ "name": "executor", "containerPort": ours.port }));
    }
    let probe = json!({ "tcpSocket": { "port": ours.port }, "periodSeconds": 1 });
    default(container, &["readinessProbe"], probe)?;
    default(
        container,
        &["securityContext"],
        json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        }),
    )?;
    let mounts = list(container, &["volumeMounts"])?;
    match mounts.iter().find(|mount| mount["name"] == SCRATCH) {
        None => mounts.push(json!({ "name": SCRATCH, "mountPath": SCRATCH_PATH })),
        Some(mount) if mount["mountPath"] == SCRATCH_PATH => {}
        Some(_) => {
            return Err(wrong(
                ".volumeMounts",
                &format!("must have {SCRATCH} at {SCRATCH_PATH}, where the executor spills"),
            ));
        }
    }
    Ok(())
}

fn resources(container: &mut Value, pod: &PodConfig) -> Result<(), Wrong> {
    if let Some(bytes) = pod.memory_bytes {
        let overhead = pod.memory_overhead_bytes;
        let overhead = overhead.unwrap_or_else(|| (bytes / 10).max(OVERHEAD_BYTES_MIN));
        let all = bytes.saturating_add(overhead).to_string();
        put(container, &["resources", "requests", "memory"], json!(all))?;
        put(container, &["resources", "limits", "memory"], json!(all))?;
    }
    match &pod.cpu {
        Some(cpu) => put(container, &["resources", "requests", "cpu"], json!(cpu)),
        None => Ok(()),
    }
}

fn variables(container: &mut Value, pod: &PodConfig) -> Result<(), Wrong> {
    let mut variables = vec![
        (
            "POD_IP",
            json!({ "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }),
        ),
        ("LAKEWING__EXECUTOR__SPILL_DIR", json!({ "value": SCRATCH_PATH })),
    ];
    if let Some(bytes) = pod.scratch_bytes {
        let spill = json!({ "value": (bytes - bytes / 10).to_string() });
        variables.push(("LAKEWING__EXECUTOR__SPILL_BYTES_MAX", spill));
    }
    if let Some(bytes) = pod.memory_bytes {
        let budget = json!({ "value": bytes.to_string() });
        variables.push(("LAKEWING__EXECUTOR__MEMORY_BYTES_MAX", budget));
    }
    let environment = list(container, &["env"])?;
    for (index, (name, mut variable)) in variables.into_iter().enumerate() {
        if environment.iter().any(|given| given["name"] == name) {
            return Err(wrong(".env", &format!("must leave {name} to the server")));
        }
        variable["name"] = json!(name);
        environment.insert(index, variable);
    }
    Ok(())
}

/// Sets what only we decide.
fn put(value: &mut Value, path: &[&str], ours: Value) -> Result<(), Wrong> {
    let place = at(value, path)?;
    if !place.is_null() && *place != ours {
        let detail = format!("is {place}, and the server makes it {ours}");
        return Err(wrong(&format!(".{}", path.join(".")), &detail));
    }
    *place = ours;
    Ok(())
}

/// Sets what the template may decide and has not.
fn default(value: &mut Value, path: &[&str], ours: Value) -> Result<(), Wrong> {
    let place = at(value, path)?;
    if place.is_null() {
        *place = ours;
    }
    Ok(())
}

fn list<'a>(value: &'a mut Value, path: &[&str]) -> Result<&'a mut Vec<Value>, Wrong> {
    let place = at(value, path)?;
    if place.is_null() {
        *place = json!([]);
    }
    let not_a_list = || wrong(&format!(".{}", path.join(".")), "is not a list");
    place.as_array_mut().ok_or_else(not_a_list)
}

/// What is at `path`, null where there was nothing.
fn at<'a>(value: &'a mut Value, path: &[&str]) -> Result<&'a mut Value, Wrong> {
    let mut place = value;
    for (depth, key) in path.iter().enumerate() {
        if place.is_null() {
            *place = json!({});
        }
        let above = path[..depth].iter().map(|key| format!(".{key}")).collect::<String>();
        let fields = place.as_object_mut().ok_or_else(|| wrong(&above, "is not a map"))?;
        place = fields.entry((*key).to_owned()).or_insert(Value::Null);
    }
    Ok(place)
}

/// Looking at a place makes it: what is empty goes again.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        Value::Array(values) => Value::Array(values.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

fn wrong(path: &str, detail: &str) -> Wrong {
    Wrong {
        path: path.to_owned(),
        detail: detail.to_owned(),
    }
}
