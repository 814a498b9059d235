//! The state of a lease that this pipeline has, and its renewal.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Result;

use super::object::{Lease as Read, NAME, NAMESPACE, object};
use crate::pipeline::cluster::{Cluster, has_reason};
use crate::pipeline::time;

/// What the thread of the renewals shares with the stage.
pub(super) struct State {
    pub(super) cluster: Option<Cluster>,
    pub(super) holder: String,
    pub(super) since: String,
    pub(super) transitions: u64,
    pub(super) renewed: Mutex<Renewed>,
}

/// The last renewal.
pub(super) struct Renewed {
    /// Before the request, so that the lease ends no earlier for this pipeline than for the others.
    pub(super) at: Instant,
    pub(super) version: String,
    pub(super) lost: Option<String>,
}

impl State {
    pub(super) fn renewed(&self) -> MutexGuard<'_, Renewed> {
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries to renew the lease. Returns whether the API server has renewed it.
    pub(super) fn renew(&self) -> bool {
        let Some(cluster) = &self.cluster else {
            return false;
        };
        let at = Instant::now();
        let version = self.renewed().version.clone();
        let written = object(
            Some(&self.holder),
            &self.since,
            &time::now(),
            self.transitions,
            Some(&version),
        );
        match cluster.write("replace", &written) {
            Ok(stored) => {
                let mut renewed = self.renewed();
                renewed.at = at;
                renewed.version = Read::of(&stored).version;
                true
            }
            Err(error)
                if ["Conflict", "NotFound"]
                    .iter()
                    .any(|reason| has_reason(&error, reason)) =>
            {
                // Otherwise the next renewal finds out.
                let _ = self.look(cluster);
                false
            }
            Err(_) => false,
        }
    }

    /// Finds out why the lease has another version. It still is of this pipeline if the answer to the last renewal was lost.
    pub(super) fn look(&self, cluster: &Cluster) -> Result<()> {
        let found = cluster.get(NAMESPACE, "lease", NAME)?;
        let mut renewed = self.renewed();
        match found.as_ref().map(Read::of) {
            Some(read) if self.is_mine(&read) => renewed.version = read.version,
            Some(read) => renewed.lost = Some(format!("it is held by {}", read.describe())),
            None => renewed.lost = Some("it was deleted".to_owned()),
        }
        Ok(())
    }

    fn is_mine(&self, read: &Read) -> bool {
        read.holder.as_deref() == Some(&self.holder) && read.since == self.since
    }
}
