//! Names and formats of the metrics chain, which the static check, the prover and the tests share: its links and their
//! diagnosis, the Deployments that an apply rolls out, and the text format of `/metrics`.

pub mod diagnosis;
pub mod exposition;
mod link;

pub use link::Link;

/// A Deployment that the overlays create.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rollout {
    /// The namespace of the Deployment.
    pub namespace: &'static str,
    /// The name of the Deployment.
    pub deployment: &'static str,
}

/// Every Deployment that the overlays create, in the order in which they depend on each other.
pub const ROLLOUTS: [Rollout; 4] = [
    Rollout {
        namespace: "monitoring",
        deployment: "prometheus",
    },
    Rollout {
        namespace: "monitoring",
        deployment: "prometheus-adapter",
    },
    Rollout {
        namespace: "sample-app",
        deployment: "app-b",
    },
    Rollout {
        namespace: "sample-app",
        deployment: "app-a",
    },
];
