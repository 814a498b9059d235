//! Reads, during a proof of scaling, what the proof itself does not: the average response time at the custom metrics API, and the
//! pods of the `ReplicaSet`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{
    join,
    task::JoinSet,
    time::{self, MissedTickBehavior},
};

use crate::cluster::{Cluster, PodsMetric, ReplicaSetState};

/// The custom metric with the average response time of each pod, in seconds.
pub const DURATION_METRIC: &str = "http_request_duration_seconds_average";

/// The time between two readings, as between two samples of the proof.
const PERIOD: Duration = Duration::from_secs(1);

/// One reading.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// The time of the reading, by the clock of this machine.
    pub at: Timestamp,
    /// The mean of the values of [`DURATION_METRIC`] over the pods, in milliseconds; an error if there is none.
    pub average_ms: Result<f64, String>,
    /// The `ReplicaSet` of the latest rollout; an error if it cannot be read.
    pub replica_set: Result<ReplicaSetState, String>,
}

/// Takes readings until it is dropped or finished.
pub struct Reader {
    readings: Arc<Mutex<Vec<Reading>>>,
    _task: JoinSet<()>,
}

impl Reader {
    /// Starts to read about a Deployment.
    #[must_use]
    pub fn start(cluster: &Cluster, namespace: &str, deployment: &str) -> Self {
        let readings = Arc::new(Mutex::new(Vec::new()));
        let (cluster, namespace, deployment) = (cluster.clone(), namespace.to_owned(), deployment.to_owned());
        let written = Arc::clone(&readings);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut ticks = time::interval(PERIOD);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                ticks.tick().await;
                let reading = read(&cluster, &namespace, &deployment).await;
                written
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(reading);
            }
        });
        Self {
            readings,
            _task: task,
        }
    }

    /// Stops, and returns the readings in the order of their times.
    #[must_use]
    pub fn finish(self) -> Vec<Reading> {
        let mut readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *readings)
    }
}

async fn read(cluster: &Cluster, namespace: &str, deployment: &str) -> Reading {
    let found = cluster.workload(namespace, deployment).await;
    let at = Timestamp::now();
    let workload = match found {
        Ok(Some(workload)) => Ok(workload),
        Ok(None) => Err(format!("the Deployment {deployment} does not exist")),
        Err(error) => Err(error.to_string()),
    };
    let workload = match workload {
        Ok(workload) => workload,
        Err(error) => {
            return Reading {
                at,
                average_ms: Err(error.clone()),
                replica_set: Err(error),
            };
        }
    };
    let metric = PodsMetric {
        name: DURATION_METRIC.to_owned(),
        target_per_pod: 0.0,
        selector: None,
    };
    let (samples, sets) = join!(
        cluster.pod_samples(namespace, &metric, &workload.selector),
        cluster.replica_sets(namespace, &workload.selector)
    );
    let average_ms = samples.map_err(|error| error.to_string()).and_then(|samples| {
        let sum: f64 = samples.iter().map(|sample| sample.value).sum();
        #[expect(clippy::cast_precision_loss, reason = "a number of pods")]
        let count = samples.len() as f64;
        if samples.is_empty() {
            Err(format!("{DURATION_METRIC} has no value"))
        } else {
            Ok(sum / count * 1000.0)
        }
    });
    let current = sets.map_err(|error| error.to_string()).and_then(|sets| {
        let newest = sets.into_iter().max_by_key(|set| set.revision);
        newest.ok_or_else(|| format!("the Deployment {deployment} has no ReplicaSet"))
    });
    Reading {
        at,
        average_ms,
        replica_set: current,
    }
}
