//! Stops the load when the user interrupts the command: shuts down the pods, and collects their results so far.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::follow::Follower;
use crate::cluster::{PodProgress, StripePod};

/// The time for the nodes to open the log streams. A stream that opens later may still deliver its result.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

impl Follower<'_> {
    /// Deletes the Job, so that Kubernetes stops each pod. A stopping pod prints the result of its stripe. Its log
    /// disappears with the pod, so this function follows each log before it deletes the Job. Waits for the results for
    /// at most `limit`.
    pub(super) async fn stop(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.report(&format!(
            "stopping: deleting the Job and waiting for the results of its pods; a second signal stops at once without \
             a report. If it comes within the first seconds, the Job may remain: delete it with \
             `kubectl --namespace {} delete job {}`",
            self.namespace, self.job
        ));
        if let Ok(pods) = self.cluster.stripe_pods(self.namespace, self.job).await {
            for pod in pods {
                self.record_pod(pod);
            }
        }
        let mut logs = JoinSet::new();
        let (unopened, mut all_open) = mpsc::channel::<()>(1);
        let has_run = |pod: &&StripePod| !matches!(pod.progress, PodProgress::Waiting(_));
        for pod in self.pods_without_result().filter(has_run).cloned() {
            let (cluster, namespace) = (self.cluster.clone(), self.namespace.to_owned());
            let unopened = unopened.clone();
            logs.spawn(async move {
                let log = cluster.follow_log(&namespace, &pod.name, || drop(unopened));
                let log = timeout_at(deadline, log).await;
                (pod, log)
            });
        }
        // The receiver is ready when every sender is dropped: each task drops its own when its stream opens.
        drop(unopened);
        drop(timeout(OPEN_TIMEOUT, all_open.recv()).await);
        self.delete().await;
        while let Some(Ok((pod, log))) = logs.join_next().await {
            if let Ok(log) = log {
                self.record_log(&pod, log);
            }
        }
    }
}
