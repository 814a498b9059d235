//! The serving certificate of an aggregated API server: made in its pod, trusted through its `APIService`, renewed in
//! place.
//!
//! It runs as a sidecar of the server (here prometheus-adapter). At start it makes a certificate authority and one
//! serving certificate in memory, and forgets the authority's key. It publishes the authority in the `APIService`'s
//! `caBundle`, and only then writes `tls.crt` and `tls.key` into a directory in memory that it shares with the server.
//! Well before the end it does the same again, and the server loads the new files by itself.
//!
//! Why so, and not a Secret that a Job makes and a `CronJob` renews: no private key reaches etcd, git or a disk; nothing has
//! to be mounted that does not exist yet; a second `kubectl apply` meets no immutable Job; and renewal is the same code
//! as the start, so that it is not met for the first time a month later.

pub mod bundle;
pub mod certificate;
pub mod config;
pub mod files;
pub mod publish;
pub mod sidecar;
