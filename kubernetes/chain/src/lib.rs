//! The static check of the metrics chain: from the `/metrics` page of a pod, through Prometheus and the adapter, to the
//! HPAs, without a cluster.
//!
//! A link connects two files, and no other check finds a contradiction between them. When a link breaks, the cluster shows
//! only `<unknown>` in a column of the HPA, or nothing. The check therefore follows the chain as the components do:
//! discovery and relabelling in Prometheus, the metric names of the adapter, RBAC, network policies, and the route to the adapter. A link
//! whose objects are not among the manifests is not checked.

mod access;
pub mod adapter;
mod api_service;
mod autoscaler;
mod check;
mod component;
mod discovery;
mod exposition;
mod input;
mod monitors;
mod notes;
pub mod objects;
pub mod permissions;
pub mod policies;
pub mod prometheus;
pub mod query;
mod relabel;
mod removed_versions;
pub mod rule;
mod rule_check;
pub mod stored;
mod yaml;

pub use self::{check::check, component::Component, exposition::Exposition, input::Input, yaml::parse};
