//! The pods that the tests of a canary compare: the canary and the stable pods.

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::ListParams};

use super::{
    client::Cluster,
    pods::PodState,
    read::{ReadResult, read},
};

/// Selects the canaries of the pipeline. `xtask/src/pipeline/canary/pod.rs` sets the label.
pub const CANARY_SELECTOR: &str = "sample-app/track=canary";

/// Selects every other pod.
const NOT_CANARY: &str = "sample-app/track!=canary";

/// A pod with its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServingPod {
    /// The state.
    pub state: PodState,
    /// How often its containers have restarted.
    pub restarts: i32,
    /// How the last container ended that did: `exit code 64 (Error)`.
    pub last_end: Option<String>,
    /// The number of the port named `http`.
    pub http_port: Option<i32>,
    /// The number of the port named `admin`.
    pub admin_port: Option<i32>,
}

impl ServingPod {
    /// As [`PodState::of`].
    fn of(object: Pod) -> Option<Self> {
        let statuses = object
            .status
            .as_ref()
            .and_then(|status| status.container_statuses.clone())
            .unwrap_or_default();
        let containers = object.spec.as_ref().map(|spec| spec.containers.clone());
        let ports: Vec<_> = containers
            .unwrap_or_default()
            .into_iter()
            .flat_map(|container| container.ports.unwrap_or_default())
            .collect();
        let port = |name: &str| {
            let named = ports.iter().find(|port| port.name.as_deref() == Some(name));
            named.map(|port| port.container_port)
        };
        let mut ends = statuses.iter().filter_map(|status| {
            let last = status.last_state.as_ref()?.terminated.as_ref()?;
            let reason = last.reason.as_deref().unwrap_or("no reason");
            Some(format!("exit code {} ({reason})", last.exit_code))
        });
        Some(Self {
            restarts: statuses.iter().map(|status| status.restart_count).sum(),
            last_end: ends.next_back(),
            http_port: port("http"),
            admin_port: port("admin"),
            state: PodState::of(object)?,
        })
    }
}

impl Cluster {
    /// Returns a pod, or `None` if it does not exist or has finished.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn serving_pod(&self, namespace: &str, name: &str) -> ReadResult<Option<ServingPod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        Ok(read(api.get_opt(name)).await?.and_then(ServingPod::of))
    }

    /// Returns the pods that match a label selector, are no canary, are ready, and stay, in the order of their names.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn stable_pods(&self, namespace: &str, selector: &str) -> ReadResult<Vec<ServingPod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let labels = format!("{selector},{NOT_CANARY}");
        let found = read(api.list(&ListParams::default().labels(&labels))).await?;
        let pods = found.items.into_iter().filter_map(ServingPod::of);
        let mut pods: Vec<_> = pods
            .filter(|pod| pod.state.ready && !pod.state.terminating)
            .collect();
        pods.sort_by(|one, other| one.state.name.cmp(&other.state.name));
        Ok(pods)
    }
}
