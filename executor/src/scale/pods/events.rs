//! What was decided and what went wrong, as Events of the release's Lease: `kubectl describe lease` and `kubectl events`
//! show them. They are for people: whether one is written changes nothing. Needs `create` of events.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tracing::warn;

use super::within;

/// Who writes them.
const CONTROLLER: &str = "lakewing.dev/server";
/// Events that wait to be written; more are dropped.
const WAITING_MAX: usize = 64;
/// Longest note, in bytes: what the API server takes.
const NOTE_BYTES_MAX: usize = 1024;

/// What an Event is about; its name is what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// This server decides from now on.
    LeaderElection,
    /// Pods are created.
    ScaledUp,
    /// Pods are asked to end.
    ScaledDown,
    /// The API server refuses a pod.
    FailedCreate,
    /// A pod does not start.
    FailedStart,
    /// A pod ended by itself.
    Failed,
    /// A pod leaves, because its node does or somebody deleted it.
    Draining,
}

impl Reason {
    fn is_trouble(self) -> bool {
        matches!(self, Reason::FailedCreate | Reason::FailedStart | Reason::Failed)
    }
}

/// Where Events are handed over.
pub(super) struct Events {
    me: String,
    namespace: String,
    waiting: Sender<Event>,
}

impl Events {
    /// Those of the server `me`, and what is to be written by [`write`].
    pub(super) fn new(namespace: &str, me: &str) -> (Self, Receiver<Event>) {
        let (waiting, told) = channel(WAITING_MAX);
        let events = Self {
            me: me.to_owned(),
            namespace: namespace.to_owned(),
            waiting,
        };
        (events, told)
    }

    /// Tells `note` about the object `lease`. Never waits.
    pub(super) fn tell(&self, lease: &OwnerReference, reason: Reason, note: &str) {
        let mut note = note.to_owned();
        note.truncate(note.floor_char_boundary(NOTE_BYTES_MAX));
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", lease.name)),
                namespace: Some(self.namespace.clone()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(Timestamp::now())),
            action: Some(format!("{reason:?}")),
            reason: Some(format!("{reason:?}")),
            note: Some(note),
            type_: Some(if reason.is_trouble() { "Warning" } else { "Normal" }.to_owned()),
            reporting_controller: Some(CONTROLLER.to_owned()),
            reporting_instance: Some(self.me.clone()),
            regarding: Some(ObjectReference {
                api_version: Some(lease.api_version.clone()),
                kind: Some(lease.kind.clone()),
                name: Some(lease.name.clone()),
                namespace: Some(self.namespace.clone()),
                uid: Some(lease.uid.clone()),
                ..ObjectReference::default()
            }),
            ..Event::default()
        };
        // Where the API server does not answer, the newest are lost; the log has them all.
        drop(self.waiting.try_send(event));
    }
}

/// Writes what is told, one after the other, until nobody tells any more. What cannot be written is lost; the log says so
/// once, until one is written again.
pub(super) async fn write(api: Api<Event>, mut told: Receiver<Event>) {
    let mut fails = false;
    while let Some(event) = told.recv().await {
        let failed = within(api.create(&PostParams::default(), &event)).await.err();
        if let Some(failure) = failed.as_ref().filter(|_| !fails) {
            warn!(why = failure.why(), "events of the release are not written");
        }
        fails = failed.is_some();
    }
}
