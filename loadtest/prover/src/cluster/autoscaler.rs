//! Finds the node autoscaler of a cluster, and watches its objects.

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap, events::v1::Event};
use kube::{Api, api::ListParams};

use super::{
    client::Cluster,
    nodes::{ClaimState, KARPENTER, KarpenterPool, NodeClaim, NodePool, karpenter_resource},
    read::{ReadResult, read},
    views::ClusterEvent,
    watch::Watch,
};

/// The default namespace of a cluster-autoscaler, of its status, and of its events about itself.
pub(crate) const AUTOSCALER_NAMESPACE: &str = "kube-system";

/// The ConfigMap in which a cluster-autoscaler writes its status. Its events about itself refer to it.
pub(crate) const AUTOSCALER_STATUS: &str = "cluster-autoscaler-status";

/// The name of a cluster-autoscaler's Deployment contains this text.
const AUTOSCALER_DEPLOYMENT: &str = "cluster-autoscaler";

/// The flags of a cluster-autoscaler that delay the removal of a node, and their default.
const SCALE_DOWN_DELAYS: [&str; 2] = ["--scale-down-unneeded-time", "--scale-down-delay-after-add"];
const DEFAULT_SCALE_DOWN_DELAY: Duration = Duration::from_mins(10);

/// The node autoscaler of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAutoscaler {
    /// Karpenter with these `NodePool`s, of which there may be none.
    Karpenter(Vec<NodePool>),
    /// Karpenter, without the version of its API that this program reads.
    UnsupportedKarpenter {
        /// The versions that the API server serves.
        versions: Vec<String>,
    },
    /// A cluster-autoscaler.
    ClusterAutoscaler {
        /// The longest of the times for which it keeps a node that is no longer needed.
        scale_down_delay: Duration,
    },
}

impl Cluster {
    /// Returns the node autoscaler, or `None` if the cluster has none.
    ///
    /// # Errors
    /// Returns an error if a request to the API server fails.
    pub async fn node_autoscaler(&self) -> ReadResult<Option<NodeAutoscaler>> {
        // The list of groups shows whether a version exists. The list of its kinds would be an error without it.
        let groups = read(self.client.list_api_groups()).await?;
        let (group, version) = KARPENTER;
        let found = groups.groups.into_iter().find(|known| known.name == group);
        let versions = found.map(|found| found.versions).unwrap_or_default();
        let versions: Vec<String> = versions.into_iter().map(|found| found.version).collect();
        let pools = if versions.iter().any(|found| found == version) {
            self.node_pools().await?
        } else {
            None
        };
        if let Some(pools) = &pools
            && !pools.is_empty()
        {
            return Ok(Some(NodeAutoscaler::Karpenter(pools.clone())));
        }
        let scale_down_delay = self.cluster_autoscaler_delay().await?;
        let autoscaler = scale_down_delay.map(|delay| NodeAutoscaler::ClusterAutoscaler {
            scale_down_delay: delay,
        });
        let is_unsupported = !versions.is_empty() && !versions.iter().any(|found| found == version);
        Ok(autoscaler
            .or(pools.map(NodeAutoscaler::Karpenter))
            .or(is_unsupported.then_some(NodeAutoscaler::UnsupportedKarpenter { versions })))
    }

    /// Returns the `NodePool`s, or `None` if the API server does not know Karpenter's kinds. The API server must serve the
    /// version of Karpenter's API.
    async fn node_pools(&self) -> ReadResult<Option<Vec<NodePool>>> {
        let (group, version) = KARPENTER;
        let kinds = read(
            self.client
                .list_api_group_resources(&format!("{group}/{version}")),
        )
        .await?;
        let names: BTreeSet<&str> = kinds.resources.iter().map(|kind| kind.name.as_str()).collect();
        if !names.contains("nodepools") || !names.contains("nodeclaims") {
            return Ok(None);
        }
        let resource = karpenter_resource("NodePool", "nodepools");
        let api: Api<KarpenterPool> = Api::all_with(self.client.clone(), &resource);
        let pools = read(api.list(&ListParams::default())).await?;
        Ok(Some(pools.items.into_iter().map(NodePool::from).collect()))
    }

    /// Returns the longest delay of a cluster-autoscaler before it removes a node, or `None` if there is none.
    async fn cluster_autoscaler_delay(&self) -> ReadResult<Option<Duration>> {
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), AUTOSCALER_NAMESPACE);
        let found = read(deployments.list(&ListParams::default())).await?;
        let is_autoscaler = |deployment: &&Deployment| {
            let name = deployment.metadata.name.as_deref();
            name.is_some_and(|name| name.contains(AUTOSCALER_DEPLOYMENT))
        };
        if let Some(deployment) = found.items.iter().find(is_autoscaler) {
            return Ok(Some(scale_down_delay(deployment)));
        }
        // A cloud may run the autoscaler outside of the cluster.
        let status: Api<ConfigMap> = Api::namespaced(self.client.clone(), AUTOSCALER_NAMESPACE);
        let status = read(status.get_opt(AUTOSCALER_STATUS)).await?;
        Ok(status.map(|_| DEFAULT_SCALE_DOWN_DELAY))
    }

    /// Watches the `NodeClaim`s of Karpenter.
    #[must_use]
    pub fn watch_node_claims(&self) -> Watch<ClaimState> {
        let resource = karpenter_resource("NodeClaim", "nodeclaims");
        let api = |client| Api::all_with(client, &resource);
        Watch::start(&self.client, api, None, |claim: NodeClaim| Some(claim.into()))
    }

    /// Watches the events of a namespace. Unlike a list, a watch delivers all of them, even thousands.
    #[must_use]
    pub fn watch_events(&self, namespace: &str) -> Watch<ClusterEvent> {
        let api = |client| Api::<Event>::namespaced(client, namespace);
        Watch::start(&self.client, api, None, ClusterEvent::of)
    }
}

/// Returns the longest delay that the flags of a cluster-autoscaler set.
fn scale_down_delay(deployment: &Deployment) -> Duration {
    let pod = deployment
        .spec
        .as_ref()
        .and_then(|spec| spec.template.spec.as_ref());
    let containers = pod.map(|pod| &pod.containers[..]).unwrap_or_default();
    let words: Vec<&String> = containers
        .iter()
        .flat_map(|container| container.command.iter().chain(&container.args).flatten())
        .collect();
    let delay = |flag: &str| {
        let value = words
            .iter()
            .find_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
        value
            .and_then(|value| humantime::parse_duration(value).ok())
            .unwrap_or(DEFAULT_SCALE_DOWN_DELAY)
    };
    SCALE_DOWN_DELAYS
        .into_iter()
        .map(delay)
        .max()
        .unwrap_or(DEFAULT_SCALE_DOWN_DELAY)
}
