//! Reads from a Kubernetes cluster. The only writes create and delete the Jobs of `loadtest job`. `loadtest verify` applies manifests
//! with kubectl.

mod autoscaler;
mod canary;
mod client;
mod delivery;
mod jobs;
mod metrics;
mod nodes;
mod pods;
pub mod quantity;
mod read;
mod views;
mod watch;

pub use self::{
    autoscaler::NodeAutoscaler,
    canary::{CANARY_SELECTOR, ServingPod},
    client::Cluster,
    delivery::{NodePlace, ReplicaSetState, Rollout},
    jobs::{Permission, PodProgress, StripePod},
    metrics::{CUSTOM_METRICS, EXTERNAL_METRICS, ExternalValue, PodSample, PrometheusService},
    nodes::{ClaimState, NodePool, NodeState},
    pods::PodState,
    read::{ReadError, ReadResult},
    views::{
        ApiRegistration, ClusterEvent, Condition, DEFAULT_TOLERANCE, ExternalMetric, ExternalTarget, Hpa,
        PodsMetric, Workload,
    },
    watch::Watch,
};
pub(crate) use self::{
    autoscaler::{AUTOSCALER_NAMESPACE, AUTOSCALER_STATUS},
    client::registration_name,
    metrics::Series,
};
