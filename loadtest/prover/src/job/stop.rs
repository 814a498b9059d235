//! Ends a load that the user interrupts: its pods are told to end, and what they measured until then is heard.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use super::follow::Follower;
use crate::cluster::{PodProgress, StripePod};

/// How long the nodes may take to open their pods' logs. A pod that is not heard by then may still be.
const OPENING: Duration = Duration::from_secs(3);

impl Follower<'_> {
    /// Deletes the Job, which has Kubernetes tell each pod to end; a pod does so by its stripe's result. It is gone right
    /// after, and its log with it, so each log is followed from before.
    pub(super) async fn stop(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        self.report(&format!(
            "stopping: the Job is deleted, and its pods give their results; once more to stop at once, without a report: in \
             the first seconds the Job may still be there then (`kubectl --namespace {} delete job {}`)",
            self.namespace, self.job
        ));
        if let Ok(pods) = self.cluster.stripe_pods(self.namespace, self.job).await {
            for pod in pods {
                self.see(pod);
            }
        }
        let mut logs = JoinSet::new();
        let (opening, mut all_open) = mpsc::channel::<()>(1);
        let has_run = |pod: &&StripePod| !matches!(pod.progress, PodProgress::Waiting(_));
        for pod in self.unheard().filter(has_run).cloned() {
            let (cluster, namespace) = (self.cluster.clone(), self.namespace.to_owned());
            let opening = opening.clone();
            logs.spawn(async move {
                let log = cluster.follow_log(&namespace, &pod.name, || drop(opening));
                let log = timeout_at(deadline, log).await;
                (pod, log)
            });
        }
        // A receiver without a sender is ready: when each of them has dropped its own.
        drop(opening);
        drop(timeout(OPENING, all_open.recv()).await);
        self.delete().await;
        while let Some(Ok((pod, log))) = logs.join_next().await {
            if let Ok(log) = log {
                self.hear(&pod, log);
            }
        }
    }
}
