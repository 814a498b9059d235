//! A load from several pods, by what Kubernetes has: an indexed Job starts the stripes, each waits for their common start,
//! and its result is the last line of its pod's log.

mod files;
mod follow;
mod manifest;
mod send;
mod stop;

pub use self::{
    files::{Files, Word},
    manifest::{Manifest, job as manifest},
    send::{JobOptions, JobOutcome, send},
};
