//! What the API server says, in plain words: the status of a pod for those who wait for it, and its refusals.

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use super::CONTAINER;

/// What a pod's status means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It is on its way; why it is not there yet, where that is known.
    Coming(Option<String>),
    /// It cannot start as it is; why.
    Stuck(String),
    /// It listens at this address.
    Runs(String),
    /// It ends; why.
    Leaves(String),
    /// It has ended; why, where that was no drain.
    Ended(Option<String>),
}

/// What the status of `pod` means.
pub(super) fn meaning(pod: &Pod) -> Meaning {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let none = PodStatus::default();
    let status = pod.status.as_ref().unwrap_or(&none);
    let mut containers = status.container_statuses.iter().flatten();
    let ours = containers.find(|container| container.name == CONTAINER);
    let state = ours.and_then(|container| container.state.as_ref());
    if pod.metadata.deletion_timestamp.is_some() {
        let disrupted = condition(status, "DisruptionTarget", "True");
        return Meaning::Leaves(match disrupted {
            Some(why) => format!("pod {name} is taken away: {why}"),
            None => format!("pod {name} was deleted"),
        });
    }
    let terminated = state.and_then(|state| state.terminated.as_ref());
    let phase = status.phase.as_deref().unwrap_or_default();
    if terminated.is_some() || matches!(phase, "Failed" | "Succeeded") {
        let killed = terminated.is_some_and(|ended| ended.reason.as_deref() == Some("OOMKilled"));
        let told = status.message.as_ref().or(status.reason.as_ref());
        return Meaning::Ended(match (told, terminated) {
            _ if killed => Some(format!("pod {name} was killed: it used more memory than its limit")),
            (Some(why), _) => Some(format!("pod {name} ended: {why}")),
            (None, Some(ended)) if ended.exit_code != 0 => {
                let why = ended.message.as_ref().or(ended.reason.as_ref());
                let why = why.map(|why| format!(": {}", why.trim())).unwrap_or_default();
                Some(format!("pod {name} ended with exit code {}{why}", ended.exit_code))
            }
            _ => None,
        });
    }
    if let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let message = waiting.message.as_deref().unwrap_or(reason);
        return match reason {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Meaning::Stuck(format!("the image of pod {name} cannot be pulled: {message}"))
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "CrashLoopBackOff" => {
                Meaning::Stuck(format!("the container of pod {name} cannot be started: {message}"))
            }
            _ => Meaning::Coming(None),
        };
    }
    if let Some(why) = condition(status, "PodScheduled", "False") {
        return Meaning::Coming(Some(format!("pod {name} finds no node: {why}")));
    }
    let ready = ours.is_some_and(|container| container.ready) && state.is_some_and(|state| state.running.is_some());
    match &status.pod_ip {
        Some(ip) if ready => Meaning::Runs(ip.clone()),
        _ => Meaning::Coming(None),
    }
}

/// The message of a condition, or its reason, where the condition is there and has that status.
fn condition(status: &PodStatus, kind: &str, is: &str) -> Option<String> {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition| condition.type_ == kind && condition.status == is)?;
    let why = found.message.clone().or_else(|| found.reason.clone());
    Some(why.unwrap_or_else(|| "no reason is given".to_owned()))
}

/// How a call to the API server failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was refused: nothing happened, nor will it.
    Refused(String),
    /// What it is about is there already.
    Exists,
    /// What it is about is not there.
    Missing(String),
    /// Somebody else was faster, and nothing happened.
    Conflict(String),
    /// Nobody knows whether it happened.
    Unknown(String),
}

impl Failure {
    /// In plain words.
    pub(super) fn why(&self) -> &str {
        match self {
            Failure::Refused(why) | Failure::Missing(why) | Failure::Conflict(why) | Failure::Unknown(why) => why,
            Failure::Exists => "it is there already",
        }
    }
}

/// What `error` means.
pub(super) fn failure(error: &kube::Error) -> Failure {
    let kube::Error::Api(status) = error else {
        return Failure::Unknown(format!("the API server cannot be reached: {}", innermost(error)));
    };
    let message = &status.message;
    match status.code {
        403 if message.contains("exceeded quota") => {
            Failure::Refused(format!("the quota of the namespace is exhausted: {message}"))
        }
        403 if message.contains("unknown for quota") => {
            Failure::Refused(format!("the quota of the namespace is not counted yet: {message}"))
        }
        401 => Failure::Refused(format!("the API server does not know the server's account: {message}")),
        403 => Failure::Refused(format!("the server's account is not allowed what it needs: {message}")),
        404 => Failure::Missing(format!("the API server does not find it: {message}")),
        409 if status.reason == "AlreadyExists" => Failure::Exists,
        409 => Failure::Conflict(format!("the API server says that another was faster: {message}")),
        408 | 429 => Failure::Unknown(format!("the API server is busy: {message}")),
        400..500 => Failure::Refused(format!("the API server refuses: {message}")),
        code => Failure::Unknown(format!("the API server fails with {code}: {message}")),
    }
}

/// The cause at the bottom says most.
fn innermost(error: &kube::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
