//! Reads from a Kubernetes cluster. Nothing here writes, but for the Jobs of `loadtest job`.

mod client;
mod jobs;
mod metrics;
pub mod quantity;
mod read;
mod views;

pub(crate) use self::metrics::{Series, total};
pub use self::{
    client::Cluster,
    jobs::{Permission, PodProgress, StripePod},
    metrics::{CUSTOM_METRICS, PodSample, PrometheusService},
    read::{Read, ReadError},
    views::{
        ApiRegistration, ClusterEvent, Condition, DEFAULT_TOLERANCE, Hpa, NodeState, PodState, PodsMetric,
        Workload,
    },
};
