//! A real Kubernetes on one bare Linux machine: components built from pinned Go modules, images written without
//! Docker, everything in namespaces of its own, without an uplink, and nothing left behind.

pub mod archive;
pub mod cgroup;
pub mod cluster;
pub mod images;
mod import;
#[cfg(target_os = "linux")]
pub mod init;
pub mod kubeadm;
pub mod paths;
pub mod preflight;
pub mod progress;
mod sandbox;
pub mod tools;
pub mod versions;
pub mod wait;
