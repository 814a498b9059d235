//! Waits until every link of a metrics chain works.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use wiring::diagnosis::Diagnosis;

use super::{
    diagnosis::diagnose,
    evidence::{ChainOptions, gather},
};
use crate::cluster::Cluster;

/// The time between two diagnoses of a broken chain.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Diagnoses the chain until every link works, for at most `timeout`, and returns the last diagnosis. Passes the root
/// cause to `on_broken` whenever it changes.
pub async fn wait_until_healthy(
    cluster: &Cluster,
    options: &ChainOptions,
    timeout: Duration,
    mut on_broken: impl FnMut(&str),
) -> Diagnosis {
    let deadline = Instant::now() + timeout;
    let mut last_reported = String::new();
    loop {
        let diagnosis = diagnose(&gather(cluster, options).await, options);
        if diagnosis.is_healthy() || Instant::now() >= deadline {
            return diagnosis;
        }
        if let Some(cause) = diagnosis.root_cause() {
            let broken = format!("{}: waiting for {}: {}", options.hpa, cause.link, cause.detail);
            if broken != last_reported {
                on_broken(&broken);
                last_reported = broken;
            }
        }
        sleep(POLL_INTERVAL).await;
    }
}
