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
    stripe::{self, StopFlag},
    stripe_result::{SharedLoad, StripeResult},
    summary::Summary,
};

/// The time from [`Load::start`] to the first arrival. All threads start in this time.
const START_LEAD_TIME: Duration = Duration::from_millis(20);

/// The state of a load at one moment, for a live display.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot {
    /// The time since the first arrival was due.
    pub elapsed: Duration,
    /// The counts since the start.
    pub counts: Counts,
    /// The latencies of the requests that completed since the last snapshot.
    pub latency: Summary,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    plan: Arc<Plan>,
    start: Instant,
    started_at: Timestamp,
    stripe: Stripe,
    threads: usize,
    stop_flag: Arc<StopFlag>,
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
    /// The first arrival of the whole load is due at `started_at` by the clock of this machine.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start_stripe(
        plan: Plan,
        addresses: &Addresses,
        stripe: Stripe,
        started_at: Timestamp,
    ) -> anyhow::Result<Self> {
        let threads = plan.thread_count();
        let plan = Arc::new(plan);
        let stop_flag = Arc::new(StopFlag::default());
        let until_start = Duration::try_from(started_at.duration_since(Timestamp::now())).unwrap_or_default();
        let start = Instant::now() + until_start;
        let mut load = Self {
            start,
            started_at,
            stripe,
            threads,
            stop_flag,
            recorders: Vec::new(),
            completions: Vec::new(),
            stopped_after: None,
            ended_early: None,
            plan,
        };
        for number in 0..threads {
            let recorder = Arc::new(Mutex::new(Recorder::new(
                load.plan.mix.targets().len(),
                load.plan.timeout,
            )));
            let setup = stripe::StripeSetup {
                start,
                plan: Arc::clone(&load.plan),
                hosts: addresses.0.clone(),
                stripe: stripe.thread(number, threads),
                stop_flag: Arc::clone(&load.stop_flag),
                recorder: Arc::clone(&recorder),
            };
            let (sender, receiver) = oneshot::channel();
            thread::Builder::new()
                .name(format!("loadtest-{number}"))
                .spawn(move || drop(sender.send(stripe::run(setup))))
                .context("starting a generator thread")?;
            load.recorders.push(recorder);
            load.completions.push(receiver);
        }
        Ok(load)
    }

    /// Returns the current state. The latencies are those of requests that completed since the last call.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let mut counts = Counts::default();
        let mut latency = histogram::new();
        for recorder in &self.recorders {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            counts.merge(&recorder.counts);
            histogram::merge(&mut latency, &recorder.take_recent_latencies());
        }
        Snapshot {
            elapsed: self.elapsed(),
            counts,
            latency: Summary::from_histogram(&latency),
        }
    }

    /// Returns the current rate of the schedule, in requests per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.plan.schedule.rate_at(self.elapsed())
    }

    /// Returns the time at which the first arrival is due.
    #[must_use]
    pub fn start_time(&self) -> Instant {
        self.start
    }

    /// Returns the time at which the first arrival is due, as wall-clock time.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Returns the time since the first arrival was due; 0 before it.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }

    /// Stops the arrivals. Requests in flight still complete.
    ///
    /// Used for a load whose length is not known in advance, and for an interrupted load.
    pub fn stop(&mut self) {
        if !self.stop_flag.stopped.swap(true, Ordering::Relaxed) {
            self.stopped_after = Some(self.elapsed());
        }
    }

    /// Stops the arrivals like [`Load::stop`], because the load can no longer pass for this reason.
    pub fn end_early(&mut self, reason: String) {
        self.stop();
        self.ended_early = Some(EarlyEnd {
            after_seconds: self.stopped_after.unwrap_or_default().as_secs_f64(),
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

    /// Returns the measurements so far, without the results of each second.
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
        let length = self.stopped_after.unwrap_or(self.plan.schedule.duration());
        let recorders: Vec<_> = self
            .recorders
            .iter()
            .map(|recorder| recorder.lock().unwrap_or_else(PoisonError::into_inner))
            .collect();
        LoadReport {
            ended_early: self.ended_early.clone(),
            ..report_builder::build(self.report_input(length), &recorders)
        }
    }

    /// Describes the first `length` of the load, up to the whole load.
    fn report_input(&self, length: Duration) -> ReportInput<'_> {
        let length = length.min(self.plan.schedule.duration());
        ReportInput {
            plan: PlanReport::new(&self.plan, self.threads),
            targets: self.plan.mix.targets(),
            started_at: self.started_at,
            length,
            expected: self.plan.schedule.expected(length),
        }
    }

    /// Returns the measurements of this stripe, to merge with those of other stripes. Call it after [`Load::drained`].
    #[must_use]
    pub fn stripe_result(self) -> StripeResult {
        let empty = || Recorder::new(self.plan.mix.targets().len(), self.plan.timeout);
        let recorders = self.recorders.iter().map(|recorder| {
            let mut recorder = recorder.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *recorder, empty())
        });
        let load = SharedLoad::new(&self.plan, self.stripe.count, self.started_at);
        StripeResult::new(self.stripe, load, self.stopped_after, recorders.collect())
    }
}
