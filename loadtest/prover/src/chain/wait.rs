//! Waits for a chain of metrics to become whole.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{
    diagnosis::diagnose,
    evidence::{ChainOptions, gather},
    links::Diagnosis,
};
use crate::cluster::Cluster;

/// Between two looks at a chain that is not whole yet.
const PAUSE: Duration = Duration::from_secs(1);

/// Looks until every link holds, for `patience` at most. What is missing goes to `on_missing` whenever it changes.
pub async fn wait_until_healthy(
    cluster: &Cluster,
    options: &ChainOptions,
    patience: Duration,
    mut on_missing: impl FnMut(&str),
) -> Diagnosis {
    let deadline = Instant::now() + patience;
    let mut said = String::new();
    loop {
        let diagnosis = diagnose(&gather(cluster, options).await, options);
        if diagnosis.is_healthy() || Instant::now() >= deadline {
            return diagnosis;
        }
        if let Some(cause) = diagnosis.root_cause() {
            let missing = format!("{}: waiting for {}: {}", options.hpa, cause.link, cause.detail);
            if missing != said {
                on_missing(&missing);
                said = missing;
            }
        }
        sleep(PAUSE).await;
    }
}
