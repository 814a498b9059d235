//! The state of a pod: the used fields of a Pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use serde::Serialize;

/// The state of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodState {
    /// The name.
    pub name: String,
    /// Whether the pod is ready.
    pub ready: bool,
    /// Whether the pod is terminating.
    pub terminating: bool,
    /// When the pod was created.
    pub created: Option<Timestamp>,
    /// The node; `None` before the pod is scheduled.
    pub node: Option<String>,
    /// When the pod was scheduled to the node.
    pub scheduled: Option<Timestamp>,
    /// Whether all containers run.
    pub started: bool,
    /// The reason why the pod is not ready, if its status has one.
    pub not_ready_reason: Option<String>,
}

impl PodState {
    /// Returns `None` for a pod that has finished, for example because it was evicted: its Deployment has replaced it,
    /// and the HPA ignores it, but it exists until somebody deletes it. A terminating pod counts until it is gone.
    #[must_use]
    pub fn of(object: Pod) -> Option<Self> {
        let status = object.status.unwrap_or_default();
        let terminating = object.metadata.deletion_timestamp.is_some();
        if !terminating && matches!(status.phase.as_deref(), Some("Failed" | "Succeeded")) {
            return None;
        }
        let condition = |kind: &str| {
            status
                .conditions
                .iter()
                .flatten()
                .find(|condition| condition.type_ == kind)
        };
        let ready = condition("Ready").is_some_and(|condition| condition.status == "True");
        let container = status
            .container_statuses
            .iter()
            .flatten()
            .find(|container| !container.ready);
        let not_ready_reason = container
            .and_then(|container| container.state.as_ref())
            .and_then(container_reason)
            .or_else(|| {
                condition("PodScheduled")
                    .filter(|condition| condition.status != "True")?
                    .message
                    .clone()
            })
            .or_else(|| condition("Ready")?.message.clone())
            .or(status.phase);
        let scheduled = condition("PodScheduled").filter(|condition| condition.status == "True");
        let running = |state: &ContainerState| state.running.is_some();
        let containers = status.container_statuses.as_deref().unwrap_or_default();
        let started = !containers.is_empty()
            && containers
                .iter()
                .all(|container| container.state.as_ref().is_some_and(running));
        Some(Self {
            name: object.metadata.name.unwrap_or_default(),
            ready,
            terminating,
            created: object.metadata.creation_timestamp.map(|time| time.0),
            scheduled: scheduled.and_then(|condition| Some(condition.last_transition_time.clone()?.0)),
            node: object.spec.and_then(|spec| spec.node_name),
            started,
            not_ready_reason: if ready { None } else { not_ready_reason },
        })
    }
}

fn container_reason(state: &ContainerState) -> Option<String> {
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
    waiting.or_else(|| state.terminated.as_ref()?.reason.clone())
}
