//! The test `canary-starts`: each canary becomes ready without a restart.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::options::{Canary, CanaryOptions, combine};
use crate::{
    cluster::{Cluster, ReadResult, ServingPod},
    verify::outcome::Judgement,
};

/// The time between two looks at a canary.
const POLL: Duration = Duration::from_millis(500);

/// Waits until every canary is ready.
pub async fn canary_starts(cluster: &Cluster, options: &CanaryOptions, deadline: Instant) -> Judgement {
    let mut judged = Vec::new();
    for canary in &options.canaries {
        judged.push((canary, start(cluster, options, canary, deadline).await));
    }
    combine(judged)
}

async fn start(cluster: &Cluster, options: &CanaryOptions, canary: &Canary, deadline: Instant) -> Judgement {
    let started = Instant::now();
    loop {
        let found = cluster.serving_pod(&options.namespace, &canary.pod).await;
        let missing = match judge(&canary.pod, found) {
            Ok(()) => {
                let took = started.elapsed().as_secs_f64();
                let seen = format!("{} is ready, without a restart", canary.pod);
                return Judgement::passed(seen).with("ready", took, "s");
            }
            Err((missing, true)) => missing,
            Err((broken, false)) => return Judgement::failed("the canary does not start", broken),
        };
        if Instant::now() + POLL > deadline {
            return Judgement::failed("the canary is not ready", missing);
        }
        sleep(POLL).await;
    }
}

/// Returns what is missing, and whether waiting may help.
fn judge(name: &str, found: ReadResult<Option<ServingPod>>) -> Result<(), (String, bool)> {
    let pod = match found {
        Ok(Some(pod)) => pod,
        Ok(None) => return Err((format!("{name} does not exist any more"), false)),
        Err(error) => return Err((format!("{name} cannot be read: {error}"), true)),
    };
    if pod.restarts > 0 {
        let end = pod.last_end.unwrap_or_else(|| "unknown".to_owned());
        return Err((
            format!("{name} has restarted {} times; it ended with {end}", pod.restarts),
            false,
        ));
    }
    if pod.state.ready {
        return Ok(());
    }
    let reason = pod
        .state
        .not_ready_reason
        .unwrap_or_else(|| "not ready".to_owned());
    Err((format!("{name}: {reason}"), true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::PodState;

    fn pod(restarts: i32, ready: bool) -> ServingPod {
        ServingPod {
            restarts,
            last_end: Some("exit code 64 (Error)".to_owned()),
            state: PodState {
                ready,
                not_ready_reason: Some("ErrImagePull".to_owned()),
                ..PodState::default()
            },
            ..ServingPod::default()
        }
    }

    #[test]
    fn a_restart_fails_at_once_and_a_pod_that_is_not_ready_may_become_so() {
        assert_eq!(judge("canary", Ok(Some(pod(0, true)))), Ok(()));
        let waiting = judge("canary", Ok(Some(pod(0, false))));
        assert_eq!(waiting, Err(("canary: ErrImagePull".to_owned(), true)));
        // Also if it is ready between two crashes.
        let (reason, may_help) = judge("canary", Ok(Some(pod(1, true)))).unwrap_err();
        assert!(!may_help && reason.contains("exit code 64 (Error)"), "{reason}");
        assert!(!judge("canary", Ok(None)).unwrap_err().1);
    }
}
