//! Follows a Job: reports its progress, and reads the result of each stripe as soon as its pod stops.

use std::time::Duration;

use engine::{BadConfiguration, CollectedStripe, StripeResult};
use tokio::time::{self, Instant, MissedTickBehavior};

use crate::cluster::{Cluster, PodProgress, ReadResult, StripePod};

/// The maximum number of characters of a pod's last log line in a report.
const MAX_LOG_LINE: usize = 300;

/// The maximum time from the start of a process until the API server reports its pod as running.
const STATUS_DELAY: Duration = Duration::from_secs(5);

/// The start of the log that a kubelet returns for a removed container.
const NO_LOG: &str = "unable to retrieve container logs for";

/// The reasons for which a pod waits forever.
const PERMANENT_REASONS: [&str; 6] = [
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
];

/// The last known state of one stripe.
#[derive(Default)]
struct StripeState {
    pod: Option<StripePod>,
    part: Option<CollectedStripe>,
    /// The error of the last attempt to read the log.
    log_error: Option<String>,
}

impl StripeState {
    /// Returns whether the pod has stopped, and its log must be read again.
    fn needs_log(&self) -> bool {
        self.part.is_none() && self.log_error.is_some()
    }
}

pub(super) struct Follower<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) job: &'a str,
    stripes: Vec<StripeState>,
    last_progress: String,
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
            stripes: (0..stripes).map(|_| StripeState::default()).collect(),
            last_progress: String::new(),
            on_progress,
        }
    }

    /// Polls once a second until every stripe has finished or the deadline has passed.
    ///
    /// # Errors
    /// Returns [`BadConfiguration`] if no load is possible: a pod cannot run, or no pod runs at the start time.
    pub(super) async fn wait_until_finished(
        &mut self,
        start: Instant,
        deadline: Instant,
    ) -> Result<(), BadConfiguration> {
        let mut ticks = time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            // The order matters. The pods are read after the Job, because the pods of a finished Job no longer change.
            // They are read after the deadline check, so that a pod that stopped before the deadline is still read.
            let is_over = Instant::now() >= deadline;
            let finished = self.cluster.job_has_finished(self.namespace, self.job).await;
            let pods = self.cluster.stripe_pods(self.namespace, self.job).await;
            let has_started = Instant::now() >= start;
            let must_run = Instant::now() >= start + STATUS_DELAY;
            match pods {
                Ok(pods) => {
                    for pod in pods {
                        self.process_pod(pod).await;
                    }
                    self.check_pods(has_started, must_run)?;
                    self.report_change(&self.describe(has_started));
                }
                Err(error) => self.report_change(&format!("the cluster does not answer: {error}")),
            }
            let all = self.stripes.iter().all(|stripe| stripe.part.is_some());
            let is_complete = finished == Ok(true) && !self.stripes.iter().any(StripeState::needs_log);
            if all || is_complete || is_over {
                return Ok(());
            }
        }
    }

    async fn process_pod(&mut self, pod: StripePod) {
        if self.record_pod(pod.clone()) && matches!(pod.progress, PodProgress::Terminated { .. }) {
            let log = self.cluster.log(self.namespace, &pod.name).await;
            self.record_log(&pod, log);
        }
    }

    /// Stores the state of a pod. Returns whether the result of its stripe is still missing.
    pub(super) fn record_pod(&mut self, pod: StripePod) -> bool {
        let stripe = self.stripes.get_mut(pod.stripe);
        let unfinished = stripe.filter(|stripe| stripe.part.is_none());
        unfinished.map(|stripe| stripe.pod = Some(pod)).is_some()
    }

    /// Returns the known pods of all stripes without a result.
    pub(super) fn pods_without_result(&self) -> impl Iterator<Item = &StripePod> {
        let unfinished = self.stripes.iter().filter(|stripe| stripe.part.is_none());
        unfinished.filter_map(|stripe| stripe.pod.as_ref())
    }

    /// Stores the result of a stripe from the log of its stopped pod.
    pub(super) fn record_log(&mut self, pod: &StripePod, log: ReadResult<String>) {
        let Some(stripe) = self.stripes.get_mut(pod.stripe) else {
            return;
        };
        match log {
            Ok(log) => {
                let no_result = || Err(describe_end(&pod.progress, &log));
                stripe.part = Some(CollectedStripe {
                    name: pod.name.clone(),
                    result: StripeResult::find(&log).unwrap_or_else(no_result),
                });
            }
            // The next poll reads the log again.
            Err(error) => stripe.log_error = Some(format!("its log cannot be read: {error}")),
        }
    }

    /// Returns an error if the pods can send no load. A pod that cannot run is an error only before the start, because
    /// nothing was sent yet.
    fn check_pods(&self, has_started: bool, must_run: bool) -> Result<(), BadConfiguration> {
        let pods = || self.stripes.iter().filter_map(|stripe| stripe.pod.as_ref());
        let problem = pods().find_map(|pod| match &pod.progress {
            PodProgress::Waiting(Some((reason, message))) if PERMANENT_REASONS.contains(&reason.as_str()) => {
                Some(format!("the pod {} cannot run: {reason}: {message}", pod.name))
            }
            _ => None,
        });
        if let Some(problem) = problem.filter(|_| !has_started) {
            return Err(BadConfiguration(problem));
        }
        let waits = |pod: &StripePod| matches!(pod.progress, PodProgress::Waiting(_));
        if must_run && pods().all(waits) {
            return Err(BadConfiguration(format!(
                "no pod of the Job runs at the start time, so nothing is sent: allow more time with --start-in, or \
                 find the cause with --keep and `kubectl --namespace {} describe job,pods`",
                self.namespace
            )));
        }
        Ok(())
    }

    fn describe(&self, has_started: bool) -> String {
        let count = |progress: fn(&PodProgress) -> bool| {
            let pods = self.stripes.iter().filter_map(|stripe| stripe.pod.as_ref());
            pods.filter(|pod| progress(&pod.progress)).count()
        };
        let running = count(|progress| *progress == PodProgress::Running);
        let done = count(|progress| matches!(progress, PodProgress::Terminated { .. }));
        let state = if has_started { "in progress" } else { "not started" };
        format!(
            "load {state}: {running} of {} pods running, {done} done",
            self.stripes.len()
        )
    }

    /// Reports a line if it differs from the last one.
    fn report_change(&mut self, line: &str) {
        if self.last_progress != line {
            self.report(line);
            line.clone_into(&mut self.last_progress);
        }
    }

    /// Passes a line to the caller.
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
                "the Job could not be deleted ({error}): it stops by itself, or delete it with \
                 `kubectl --namespace {namespace} delete job {name}`"
            ));
        }
    }

    /// Returns the result of each stripe, in the order of the stripes.
    ///
    /// # Errors
    /// Returns [`BadConfiguration`] if every pod reports a wrong flag or an unreachable host: nothing was sent.
    pub(super) fn into_parts(self) -> Result<Vec<CollectedStripe>, BadConfiguration> {
        let refusal = |stripe: &StripeState| {
            let bad_configuration = Some(i32::from(BadConfiguration::EXIT_CODE));
            let pod = stripe.pod.as_ref()?;
            let is_refusal =
                matches!(pod.progress, PodProgress::Terminated { code, .. } if code == bad_configuration);
            let problem = stripe.part.as_ref()?.result.as_ref().err()?;
            is_refusal.then(|| format!("the pod {}: {problem}", pod.name))
        };
        let refusals: Option<Vec<_>> = self.stripes.iter().map(refusal).collect();
        if let Some(first) = refusals.and_then(|all| all.into_iter().next()) {
            return Err(BadConfiguration(first));
        }
        let parts = self.stripes.into_iter().map(|stripe| {
            stripe.part.unwrap_or_else(|| match stripe.pod {
                None => CollectedStripe {
                    name: "no pod".to_owned(),
                    result: Err("the Job created no pod for it".to_owned()),
                },
                Some(pod) => CollectedStripe {
                    result: Err(stripe.log_error.unwrap_or_else(|| match pod.progress {
                        PodProgress::Waiting(_) => "its pod never ran".to_owned(),
                        _ => "its pod disappeared or did not stop in time".to_owned(),
                    })),
                    name: pod.name,
                },
            })
        });
        Ok(parts.collect())
    }
}

/// Describes the end of a pod without a result: the reason from Kubernetes and the exit code, where known, and the last
/// line of the log.
fn describe_end(progress: &PodProgress, log: &str) -> String {
    let (code, reason) = match progress {
        PodProgress::Terminated { code, reason } => (*code, reason.clone()),
        PodProgress::Waiting(_) | PodProgress::Running => (None, None),
    };
    let code = code.map(|code| format!("exit code {code}"));
    let last_line = log
        .lines()
        .rfind(|line| !line.trim().is_empty() && !line.starts_with(NO_LOG));
    let last_line = last_line.map(|line| line.chars().take(MAX_LOG_LINE).collect::<String>());
    let details = [reason, code, last_line].into_iter().flatten();
    let all: Vec<_> = ["its pod stopped without a result".to_owned()]
        .into_iter()
        .chain(details)
        .collect();
    all.join(": ")
}
