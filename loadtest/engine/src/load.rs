//! A running load: its threads, its state and its report.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::{
    arrivals::Stripe,
    counts::Counts,
    histogram,
    plan::Plan,
    probe::Addresses,
    record::Recorder,
    report::{EarlyEnd, LoadReport, PlanReport},
    report_builder::{self, ReportInput},
    slowest::Slowest,
    stripe::{self, Phase, StopFlag},
    stripe_result::{SharedLoad, StripeResult},
    summary::Summary,
    warm_up::WarmUp,
};

/// The time from [`Load::start`] to the first arrival. All threads start in this time.
const START_LEAD_TIME: Duration = Duration::from_millis(20);

/// The state of a load at one moment, for a live display.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// The time since the first arrival of the schedule was due; 0 in the warm-up.
    pub elapsed: Duration,
    /// The remaining time of the warm-up; 0 after it.
    pub warm_up_left: Duration,
    /// The counts of the warm-up.
    pub warm_up: Counts,
    /// The counts since the first arrival of the schedule.
    pub counts: Counts,
    /// How many of them failed without a response.
    pub unanswered: u64,
    /// The latencies of the requests that completed since the last snapshot.
    pub latency: Summary,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    plan: Arc<Plan>,
    /// When the first arrival of the schedule is due, after the warm-up.
    start: Instant,
    /// When the first arrival of the load is due, of the warm-up if there is one.
    start_at: Timestamp,
    stripe: Stripe,
    threads: usize,
    stop_flag: Arc<StopFlag>,
    warm_up_recorders: Vec<Arc<Mutex<Recorder>>>,
    recorders: Vec<Arc<Mutex<Recorder>>>,
    completions: Vec<oneshot::Receiver<std::io::Result<()>>>,
    stopped_after: Option<Duration>,
    ended_early: Option<EarlyEnd>,
}

impl Load {
    /// Starts the load on its own threads.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(plan: Plan, addresses: &Addresses) -> anyhow::Result<Self> {
        Self::start_stripe(plan, addresses, Stripe::WHOLE, Timestamp::now() + START_LEAD_TIME)
    }

    /// Starts one stripe of a load. Other processes send the other stripes.
    ///
    /// The first arrival of the whole load, or of its warm-up, is due at `start_at` by the clock of this machine.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start_stripe(
        plan: Plan,
        addresses: &Addresses,
        stripe: Stripe,
        start_at: Timestamp,
    ) -> anyhow::Result<Self> {
        let threads = plan.thread_count();
        let plan = Arc::new(plan);
        let stop_flag = Arc::new(StopFlag::default());
        let until_start = Duration::try_from(start_at.duration_since(Timestamp::now())).unwrap_or_default();
        let warm_up_start = Instant::now() + until_start;
        let start = warm_up_start + plan.warm_up;
        let mut load = Self {
            start,
            start_at,
            stripe,
            threads,
            stop_flag,
            warm_up_recorders: Vec::new(),
            recorders: Vec::new(),
            completions: Vec::new(),
            stopped_after: None,
            ended_early: None,
            plan,
        };
        for number in 0..threads {
            let phase = |start, schedule| Phase {
                start,
                schedule,
                recorder: Arc::new(Mutex::new(load.new_recorder())),
            };
            let warm_up = phase(warm_up_start, load.plan.warm_up_schedule());
            let measured = phase(start, load.plan.schedule.clone());
            let recorders = [&warm_up, &measured].map(|phase| Arc::clone(&phase.recorder));
            let setup = stripe::StripeSetup {
                phases: [warm_up, measured],
                plan: Arc::clone(&load.plan),
                hosts: addresses.0.clone(),
                stripe: stripe.thread(number, threads),
                stop_flag: Arc::clone(&load.stop_flag),
            };
            let (sender, receiver) = oneshot::channel();
            thread::Builder::new()
                .name(format!("loadtest-{number}"))
                .spawn(move || drop(sender.send(stripe::run(setup))))
                .context("starting a generator thread")?;
            let [warm_up, measured] = recorders;
            load.warm_up_recorders.push(warm_up);
            load.recorders.push(measured);
            load.completions.push(receiver);
        }
        Ok(load)
    }

    fn new_recorder(&self) -> Recorder {
        let mut recorder = Recorder::new(self.plan.mix.targets().len(), self.plan.timeout);
        recorder.slowest = Slowest::new(self.plan.slowest);
        recorder
    }

    /// Returns the current state. The latencies are those of requests that completed since the last call.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut latency = histogram::new();
        let mut unanswered = 0;
        let mut counts = |recorders: &[Arc<Mutex<Recorder>>]| {
            let mut counts = Counts::default();
            unanswered = 0;
            for recorder in recorders {
                let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
                counts.merge(&recorder.counts);
                let failures = recorder.failures.iter();
                unanswered += failures
                    .filter(|(kind, _)| kind.is_unanswered())
                    .map(|(_, count)| count)
                    .sum::<u64>();
                histogram::merge(&mut latency, &recorder.take_recent_latencies());
            }
            counts
        };
        let (warm_up, measured) = (counts(&self.warm_up_recorders), counts(&self.recorders));
        let until_measured = self.start.saturating_duration_since(Instant::now());
        Snapshot {
            elapsed: self.elapsed(),
            warm_up_left: until_measured.min(self.plan.warm_up),
            warm_up,
            counts: measured,
            unanswered,
            latency: Summary::from_histogram(&latency),
        }
    }

    /// Returns the current rate of the schedule, in requests per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.plan.schedule.rate_at(self.elapsed())
    }

    /// Returns the time at which the first arrival of the schedule is due, after the warm-up.
    #[must_use]
    pub fn start_time(&self) -> Instant {
        self.start
    }

    /// Returns the time at which the first arrival of the schedule is due, as wall-clock time.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.start_at + self.plan.warm_up
    }

    /// Returns the time since the first arrival of the schedule was due; 0 before it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }

    /// Stops the arrivals. Requests in flight still complete.
    ///
    /// Used for a load whose length is not known in advance, and for an interrupted load.
    pub fn stop(&mut self) {
        if !self.stop_flag.stopped.swap(true, Ordering::Relaxed) {
            // The time since the start of the warm-up.
            let after = (Instant::now() + self.plan.warm_up).saturating_duration_since(self.start);
            self.stopped_after = Some(after);
        }
    }

    /// Stops the arrivals like [`Load::stop`], because the load can no longer pass for this reason.
    pub fn end_early(&mut self, reason: String) {
        self.stop();
        self.ended_early = Some(EarlyEnd {
            after_seconds: self.lengths().1.as_secs_f64(),
            reason,
        });
    }

    /// Waits until every request has completed: at most one timeout after the last arrival.
    ///
    /// Can be called again after its future was dropped.
    ///
    /// # Errors
    /// When a generator thread failed.
    pub async fn drained(&mut self) -> anyhow::Result<()> {
        while let Some(completion) = self.completions.last_mut() {
            let result = completion
                .await
                .map_err(|_| anyhow!("a generator thread panicked"))?;
            self.completions.pop();
            result.context("a generator thread failed")?;
        }
        Ok(())
    }

    /// Returns the measurements so far, without the warm-up and the results of each second.
    #[must_use]
    pub fn report_so_far(&self) -> LoadReport {
        let mut all = Recorder::new(self.plan.mix.targets().len(), self.plan.timeout);
        for recorder in &self.recorders {
            // Locks one recorder at a time, because its thread waits for the lock.
            all.merge(&recorder.lock().unwrap_or_else(PoisonError::into_inner));
        }
        report_builder::build_totals(self.report_input(self.elapsed()), &[Box::new(all)])
    }

    /// Returns the report. Call it after [`Load::drained`].
    #[must_use]
    pub fn report(self) -> LoadReport {
        let (_, length) = self.lengths();
        let recorders: Vec<_> = self
            .recorders
            .iter()
            .map(|recorder| recorder.lock().unwrap_or_else(PoisonError::into_inner))
            .collect();
        LoadReport {
            ended_early: self.ended_early.clone(),
            warm_up: (!self.plan.warm_up.is_zero()).then(|| self.warm_up()),
            ..report_builder::build(self.report_input(length), &recorders)
        }
    }

    fn plan_report(&self) -> PlanReport {
        PlanReport::new(&self.plan, self.threads)
    }

    /// Returns the lengths of the warm-up and of the measured part; shorter than planned if the load was stopped.
    fn lengths(&self) -> (Duration, Duration) {
        self.plan_report().lengths(self.stopped_after)
    }

    /// Describes the first `length` of the measured part, up to the whole.
    fn report_input(&self, length: Duration) -> ReportInput<'_> {
        let length = length.min(self.plan.schedule.duration());
        ReportInput {
            plan: self.plan_report(),
            targets: self.plan.mix.targets(),
            started_at: self.started_at(),
            length,
            expected: self.plan.schedule.expected(length),
        }
    }

    /// Returns the warm-up of all threads.
    fn warm_up(&self) -> WarmUp {
        let (length, _) = self.lengths();
        let mut all = WarmUp::default();
        for recorder in &self.warm_up_recorders {
            let recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            all.merge(&WarmUp::new(length, &recorder));
        }
        all
    }

    /// Returns the measurements of this stripe, to merge with those of other stripes. Call it after [`Load::drained`].
    #[must_use]
    pub fn stripe_result(self) -> StripeResult {
        let recorders = self.recorders.iter().map(|recorder| {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *recorder, self.new_recorder())
        });
        let load = SharedLoad::new(&self.plan, self.stripe.count, self.start_at);
        let mut result = StripeResult::new(self.stripe, load, self.stopped_after, recorders.collect());
        result.warm_up = self.warm_up();
        result
    }
}
