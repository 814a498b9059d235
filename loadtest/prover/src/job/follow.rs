//! Follows a Job: shows how far it is, and takes each stripe's result as soon as its pod has ended.

use std::time::Duration;

use engine::{BadConfiguration, Part, StripeResult};
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::cluster::{Cluster, PodProgress, ReadResult, StripePod};

/// As much of a pod's last words as a report shows.
const SHOWN: usize = 300;

/// How much later than a process a pod may begin to run, as the API server tells it.
const KUBELET: Duration = Duration::from_secs(5);

/// What a kubelet answers in place of the log of a container that is gone.
const NO_LOG: &str = "unable to retrieve container logs for";

/// Reasons for which a pod waits in vain.
const HOPELESS: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// One stripe, as far as it was seen.
#[derive(Default)]
struct Seen {
    pod: Option<StripePod>,
    part: Option<Part>,
    /// Why its log could not be read the last time.
    unread: Option<String>,
}

impl Seen {
    /// Whether its pod has ended, and its log is still to be had.
    fn is_unread(&self) -> bool {
        self.part.is_none() && self.unread.is_some()
    }
}

pub(super) struct Follower<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) job: &'a str,
    stripes: Vec<Seen>,
    shown: String,
    on_progress: &'a mut (dyn FnMut(&str) + Send),
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        namespace: &'a str,
        job: &'a str,
        stripes: u64,
        on_progress: &'a mut (dyn FnMut(&str) + Send),
    ) -> Self {
        Self {
            cluster,
            namespace,
            job,
            stripes: (0..stripes).map(|_| Seen::default()).collect(),
            shown: String::new(),
            on_progress,
        }
    }

    /// Looks once a second until every stripe has ended, or the deadline is over.
    ///
    /// # Errors
    /// [`BadConfiguration`] when no load can come of it: a pod that cannot run, or none at all by the start.
    pub(super) async fn until_ended(
        &mut self,
        start: Instant,
        deadline: Instant,
    ) -> Result<(), BadConfiguration> {
        let mut ticks = time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // In this order: the pods of a Job that has ended change no more, and who has ended by the deadline is heard.
            let is_over = Instant::now() >= deadline;
            let ended = self.cluster.job_has_ended(self.namespace, self.job).await;
            let pods = self.cluster.stripe_pods(self.namespace, self.job).await;
            let has_begun = Instant::now() >= start;
            let must_run = Instant::now() >= start + KUBELET;
            match pods {
                Ok(pods) => {
                    for pod in pods {
                        self.look_at(pod).await;
                    }
                    self.can_come(has_begun, must_run)?;
                    self.show(&self.describe(has_begun));
                }
                Err(error) => self.show(&format!("the cluster does not answer: {error}")),
            }
            let all = self.stripes.iter().all(|stripe| stripe.part.is_some());
            let is_complete = ended == Ok(true) && !self.stripes.iter().any(Seen::is_unread);
            if all || is_complete || is_over {
                return Ok(());
            }
        }
    }

    async fn look_at(&mut self, pod: StripePod) {
        if self.see(pod.clone()) && matches!(pod.progress, PodProgress::Ended { .. }) {
            let log = self.cluster.log(self.namespace, &pod.name).await;
            self.hear(&pod, log);
        }
    }

    /// Takes the news of a pod. Whether its stripe's result is still to come.
    pub(super) fn see(&mut self, pod: StripePod) -> bool {
        let seen = self.stripes.get_mut(pod.stripe);
        let unheard = seen.filter(|seen| seen.part.is_none());
        unheard.map(|seen| seen.pod = Some(pod)).is_some()
    }

    /// The pods that were seen, of stripes whose result is still to come.
    pub(super) fn unheard(&self) -> impl Iterator<Item = &StripePod> {
        let unheard = self.stripes.iter().filter(|seen| seen.part.is_none());
        unheard.filter_map(|seen| seen.pod.as_ref())
    }

    /// Takes a stripe's result from the log of its pod, which has ended.
    pub(super) fn hear(&mut self, pod: &StripePod, log: ReadResult<String>) {
        let Some(seen) = self.stripes.get_mut(pod.stripe) else {
            return;
        };
        match log {
            Ok(log) => {
                let ended = || Err(describe_end(&pod.progress, &log));
                seen.part = Some(Part {
                    name: pod.name.clone(),
                    result: StripeResult::find(&log).unwrap_or_else(ended),
                });
            }
            // It may be read the next time.
            Err(error) => seen.unread = Some(format!("its log cannot be read: {error}")),
        }
    }

    /// Whether a load can still come of the pods. Before the start nothing was sent, and it is worth ending.
    fn can_come(&self, has_begun: bool, must_run: bool) -> Result<(), BadConfiguration> {
        let pods = || self.stripes.iter().filter_map(|seen| seen.pod.as_ref());
        let in_vain = pods().find_map(|pod| match &pod.progress {
            PodProgress::Waiting(Some((reason, message))) if HOPELESS.contains(&reason.as_str()) => {
                Some(format!("the pod {} cannot run: {reason}: {message}", pod.name))
            }
            _ => None,
        });
        if let Some(why) = in_vain.filter(|_| !has_begun) {
            return Err(BadConfiguration(why));
        }
        let waits = |pod: &StripePod| matches!(pod.progress, PodProgress::Waiting(_));
        if must_run && pods().all(waits) {
            return Err(BadConfiguration(format!(
                "none of the Job's pods runs by the start, and nothing is sent: give them longer with --start-in, or see \
                 with --keep and `kubectl --namespace {} describe job,pods` what keeps them",
                self.namespace
            )));
        }
        Ok(())
    }

    fn describe(&self, has_begun: bool) -> String {
        let count = |progress: fn(&PodProgress) -> bool| {
            let pods = self.stripes.iter().filter_map(|seen| seen.pod.as_ref());
            pods.filter(|pod| progress(&pod.progress)).count()
        };
        let running = count(|progress| *progress == PodProgress::Running);
        let ended = count(|progress| matches!(progress, PodProgress::Ended { .. }));
        let stage = if has_begun { "under way" } else { "not begun" };
        format!(
            "load {stage}; of {} pods {running} running, {ended} done",
            self.stripes.len()
        )
    }

    /// A line for each change.
    fn show(&mut self, line: &str) {
        if self.shown != line {
            self.report(line);
            line.clone_into(&mut self.shown);
        }
    }

    /// Gives a line to the caller.
    pub(super) fn report(&mut self, line: &str) {
        (self.on_progress)(line);
    }

    pub(super) async fn delete(&mut self) {
        let Self {
            cluster,
            namespace,
            job: name,
            ..
        } = *self;
        if let Err(error) = cluster.delete_job(namespace, name).await {
            self.report(&format!(
                "the Job could not be deleted ({error}); it ends by itself, or by `kubectl --namespace {namespace} delete job {name}`"
            ));
        }
    }

    /// What came of each stripe, in their order.
    ///
    /// # Errors
    /// [`BadConfiguration`] when every pod says that it was called wrongly, or reaches no server: nothing was sent.
    pub(super) fn into_parts(self) -> Result<Vec<Part>, BadConfiguration> {
        let refused = |seen: &Seen| {
            let code = Some(i32::from(BadConfiguration::EXIT_CODE));
            let pod = seen.pod.as_ref()?;
            let is_refusal = matches!(pod.progress, PodProgress::Ended { code: ended, .. } if ended == code);
            let problem = seen.part.as_ref()?.result.as_ref().err()?;
            is_refusal.then(|| format!("the pod {}: {problem}", pod.name))
        };
        let refusals: Option<Vec<_>> = self.stripes.iter().map(refused).collect();
        if let Some(first) = refusals.and_then(|all| all.into_iter().next()) {
            return Err(BadConfiguration(first));
        }
        let parts = self.stripes.into_iter().map(|seen| {
            seen.part.unwrap_or_else(|| match seen.pod {
                None => Part {
                    name: "no pod".to_owned(),
                    result: Err("no pod was made for it".to_owned()),
                },
                Some(pod) => Part {
                    result: Err(seen.unread.unwrap_or_else(|| match pod.progress {
                        PodProgress::Waiting(_) => "its pod never ran".to_owned(),
                        _ => "its pod went away, or did not end in time".to_owned(),
                    })),
                    name: pod.name,
                },
            })
        });
        Ok(parts.collect())
    }
}

/// How a pod without a result ended: Kubernetes' words and the exit code where they are known, and the process' own last
/// words.
fn describe_end(progress: &PodProgress, log: &str) -> String {
    let (code, why) = match progress {
        PodProgress::Ended { code, why } => (*code, why.clone()),
        PodProgress::Waiting(_) | PodProgress::Running => (None, None),
    };
    let code = code.map(|code| format!("exit code {code}"));
    let last = log
        .lines()
        .rfind(|line| !line.trim().is_empty() && !line.starts_with(NO_LOG));
    let last = last.map(|line| line.chars().take(SHOWN).collect::<String>());
    let parts = [why, code, last];
    let said = parts.into_iter().flatten();
    let all: Vec<_> = ["it ended without a result".to_owned()]
        .into_iter()
        .chain(said)
        .collect();
    all.join(": ")
}
