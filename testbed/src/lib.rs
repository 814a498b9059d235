//! Runs a real Kubernetes on one bare Linux machine, without Docker.
//!
//! The components are built from pinned Go modules, and their images are written as archives. The cluster runs in its
//! own namespaces, has no uplink, and leaves nothing behind when it stops.

pub mod archive;
pub mod cgroup;
pub mod cluster;
pub mod command;
pub mod components;
pub mod definitions;
pub mod eks;
pub mod images;
mod import;
#[cfg(target_os = "linux")]
pub mod init;
#[cfg(target_os = "linux")]
mod ip;
pub mod karpenter;
pub mod kubeadm;
#[cfg(target_os = "linux")]
pub mod manager;
pub mod network_policy;
pub mod nodes;
pub mod paths;
pub mod preflight;
pub mod progress;
pub mod registry;
mod sandbox;
pub mod system_node;
pub mod versions;
pub mod wait;
