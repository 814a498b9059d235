//! The watched pods of an HPA.

use std::sync::Arc;

use engine::units::to_f64;

use crate::cluster::{PodState, ReadResult, Watch};

/// The watched pods of an HPA, and the label selector that matches them.
#[derive(Clone, Debug)]
pub(super) struct WatchedPods {
    pub(super) selector: String,
    pub(super) watch: Arc<Watch<PodState>>,
}

impl WatchedPods {
    /// Returns the number of ready pods, as the HPA counts them.
    ///
    /// # Errors
    /// Returns an error if the pods cannot be read now.
    pub(super) async fn ready(&self) -> ReadResult<f64> {
        let pods = self.watch.objects().await?;
        Ok(to_f64(pods.iter().filter(|pod| pod.ready).count() as u64))
    }
}
