//! Reads from a Kubernetes cluster. The only writes create and delete the Jobs of `loadtest job`.

mod client;
mod jobs;
mod metrics;
pub mod quantity;
mod read;
mod views;
mod watch;

pub use self::{
    client::Cluster,
    jobs::{Permission, PodProgress, StripePod},
    metrics::{CUSTOM_METRICS, EXTERNAL_METRICS, ExternalValue, PodSample, PrometheusService},
    read::{ReadError, ReadResult},
    views::{
        ApiRegistration, ClusterEvent, Condition, DEFAULT_TOLERANCE, ExternalMetric, Hpa, NodeState,
        PodState, PodsMetric, Workload,
    },
    watch::Watch,
};
pub(crate) use self::{client::registration_name, metrics::Series};
