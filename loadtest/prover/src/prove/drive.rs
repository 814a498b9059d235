//! Drives a run: settles, sends the step, holds the plateau, scales down under a light load, and takes the last
//! samples. This module records and does not judge.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use engine::{Interrupt, Load, LoadReport, Snapshot};
use jiff::Timestamp;
use tokio::{
    join,
    time::{self, Interval, MissedTickBehavior},
};

use super::{
    active_load::{ActiveLoad, finish},
    nodes::NodeRecorder,
    observe::{Events, Observer},
    plan::Expected,
    progress::Progress,
    setup::Setup,
    shares::{Shares, request_counts},
    timeline::{Deadlines, HpaSample, LoadSample, NodesSample, Phase, Sample, Timeline},
    trace::Trace,
    tracer::Tracer,
};
use crate::cluster::Cluster;

/// The time between two samples.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

/// The number of samples between two reads of the events.
const SAMPLES_PER_EVENT_READ: u32 = 2;

/// The number of samples after the end of the tail.
const CLOSING_SAMPLES: u32 = 3;

/// The maximum rate of an idle cluster, in requests per second. A person who visits the service does not disturb the
/// run.
const IDLE_RATE: f64 = 1.0;

/// The number of samples before the load that are kept for the plots.
const SETTLING_SAMPLES_KEPT: usize = 10;

/// The recording of a run.
#[derive(Debug)]
pub struct Recording {
    /// The record of the cluster and the load.
    pub timeline: Timeline,
    /// The report of the step; `None` if the step did not begin.
    pub step: Option<LoadReport>,
    /// The report of the tail; `None` if the tail did not begin.
    pub tail: Option<LoadReport>,
    /// The observations on the way to the new pods, by HPA.
    pub traces: BTreeMap<String, Trace>,
    /// The data for the share of each pod.
    pub shares: Shares,
    /// The time at which the load began.
    pub began_at: Option<Timestamp>,
    /// The time between the idle cluster and the start of the load.
    pub start_wait: Duration,
    /// Whether the user stopped the run.
    pub interrupted: bool,
}

impl Recording {
    /// Creates the recording of a run without load.
    #[must_use]
    pub fn without_load(timeline: Timeline, interrupted: bool) -> Self {
        Self {
            timeline,
            step: None,
            tail: None,
            traces: BTreeMap::new(),
            shares: Shares::default(),
            began_at: None,
            start_wait: Duration::ZERO,
            interrupted,
        }
    }
}

/// Drives a run. If the cluster cannot be read, the run continues, and the record has the error.
///
/// # Errors
/// Returns an error if the load generator fails.
pub async fn drive(
    cluster: &Cluster,
    setup: &Setup,
    interrupt: &mut Interrupt,
    on_progress: &mut (dyn FnMut(Progress<'_>) + Send),
) -> anyhow::Result<Recording> {
    let mut driver = Driver::new(cluster, setup, on_progress);
    let mut interrupted = false;
    let mut step = None;
    let mut tail = None;
    {
        let phases = driver.run_phases(&mut step, &mut tail);
        tokio::select! {
            result = phases => result?,
            () = interrupt.requested() => interrupted = true,
        }
    }
    if interrupted {
        (driver.on_progress)(Progress::Stopping);
    }
    let (step, tail) = (finish(step).await?, finish(tail).await?);
    let (origin, began_at) = (driver.origin, driver.began_at);
    driver.timeline.nodes = driver.nodes.take().map(|nodes| nodes.finish(origin, began_at));
    Ok(Recording {
        timeline: driver.timeline,
        step,
        tail,
        traces: driver.tracer.map(|tracer| tracer.traces()).unwrap_or_default(),
        shares: driver.shares,
        began_at: driver.began_at,
        start_wait: setup.start_wait,
        interrupted,
    })
}

struct Driver<'a> {
    cluster: &'a Cluster,
    setup: &'a Setup,
    observer: Observer,
    timeline: Timeline,
    origin: Instant,
    began_at: Option<Timestamp>,
    events: Events,
    tracer: Option<Tracer>,
    nodes: Option<NodeRecorder>,
    shares: Shares,
    sample_count: u32,
    last_snapshot: Snapshot,
    on_progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
    ticks: Interval,
}

impl<'a> Driver<'a> {
    fn new(
        cluster: &'a Cluster,
        setup: &'a Setup,
        on_progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Self {
        let mut ticks = time::interval(SAMPLE_PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            cluster,
            setup,
            observer: Observer::new(cluster, &setup.namespace, &setup.expected),
            timeline: Timeline::new(setup.expected.clone(), setup.deadlines),
            origin: Instant::now(),
            began_at: None,
            events: Events::new(cluster, setup),
            tracer: None,
            nodes: setup
                .nodes
                .as_ref()
                .map(|plan| NodeRecorder::start(cluster, plan)),
            shares: Shares::default(),
            sample_count: 0,
            last_snapshot: Snapshot::default(),
            on_progress,
            ticks,
        }
    }

    /// Runs all phases. The caller owns the loads, so that it can drain them when it drops this future half-way.
    async fn run_phases(
        &mut self,
        step: &mut Option<ActiveLoad>,
        tail: &mut Option<ActiveLoad>,
    ) -> anyhow::Result<()> {
        let (cluster, setup) = (self.cluster, self.setup);
        let (counts, tracer) = loop {
            if !self.wait_until_settled().await {
                return Ok(());
            }
            self.observe_during(Phase::Settling, time::sleep(setup.start_wait))
                .await;
            let pods = self.observer.watched_pods();
            let prepare = async {
                join!(
                    request_counts(cluster, setup),
                    Tracer::prepare(cluster, setup, pods)
                )
            };
            let prepared = self.observe_during(Phase::Settling, prepare).await;
            if self.is_idle() {
                break prepared;
            }
            self.timeline.marks.settled = None;
        };
        self.shares.begin(counts);
        self.begin_step(step, tracer)?;
        self.hold_step(step).await;
        *step = step.take().map(ActiveLoad::stop);
        self.timeline.marks.load_ended = Some(self.now());
        self.tracer.iter_mut().for_each(Tracer::stop);
        let counts = self
            .observe_during(Phase::ScalingDown, request_counts(cluster, setup))
            .await;
        self.shares.end(counts);
        if let Some(plan) = &self.setup.tail {
            self.last_snapshot = Snapshot::default();
            *tail = Some(ActiveLoad::Running(Load::start(
                plan.clone(),
                &self.setup.addresses,
            )?));
        }
        self.return_to_minimum(tail).await;
        self.remove_nodes(tail).await;
        if let Some(load) = tail.take() {
            *tail = Some(load.stop());
        }
        for _ in 0..CLOSING_SAMPLES {
            self.sample(Phase::Closing, None).await;
        }
        Ok(())
    }

    /// Waits until the cluster is idle. Returns `false` at the deadline.
    async fn wait_until_settled(&mut self) -> bool {
        while self.now() <= self.setup.deadlines.settle {
            self.sample(Phase::Settling, None).await;
            if self.is_idle() {
                self.timeline.marks.settled = Some(self.now());
                return true;
            }
        }
        false
    }

    /// Returns whether every HPA is at its minimum, its metric is idle, and the nodes are settled.
    fn is_idle(&self) -> bool {
        self.nodes.as_ref().is_none_or(NodeRecorder::is_settled)
            && self.holds_for_all(|expected, hpa| {
                hpa.is_at_minimum(expected) && hpa.metric_sum.is_some_and(|sum| sum <= IDLE_RATE)
            })
    }

    /// Runs `work`, and takes samples without load until it is done.
    async fn observe_during<T>(&mut self, phase: Phase, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                // Boxed: the future is large.
                () = Box::pin(self.sample(phase, None)) => {}
            }
        }
    }

    fn begin_step(&mut self, step: &mut Option<ActiveLoad>, mut tracer: Tracer) -> anyhow::Result<()> {
        let load = Load::start(self.setup.step.clone(), &self.setup.addresses)?;
        let began_at = load.started_at();
        self.timeline.shift(self.now());
        self.origin = load.start_time();
        *step = Some(ActiveLoad::Running(load));
        self.began_at = Some(began_at);
        self.events.begin(began_at);
        tracer.begin(self.origin);
        self.tracer = Some(tracer);
        Ok(())
    }

    /// Waits for the replicas to become ready, and then for the end of the plateau.
    async fn hold_step(&mut self, step: &mut Option<ActiveLoad>) {
        let Deadlines {
            scale_up, plateau, ..
        } = self.setup.deadlines;
        while self.now() <= scale_up {
            self.sample(Phase::ScalingUp, step.as_ref()).await;
            if self.holds_for_all(|expected, hpa| hpa.ready == expected.replicas) {
                let began = self.now();
                self.timeline.marks.plateau_began = Some(began);
                while self.now() < began + plateau {
                    self.sample(Phase::Plateau, step.as_ref()).await;
                }
                self.timeline.marks.plateau_ended = Some(self.now());
                return;
            }
        }
    }

    /// Waits until every HPA is at its minimum and the last terminating pod is gone, because its requests count until
    /// then.
    async fn return_to_minimum(&mut self, tail: &mut Option<ActiveLoad>) {
        let deadline = self.now() + self.setup.deadlines.scale_down;
        while self.now() <= deadline {
            self.sample(Phase::ScalingDown, tail.as_ref()).await;
            if self.holds_for_all(|expected, hpa| hpa.is_at_minimum(expected)) {
                self.timeline.marks.back = Some(self.now());
                return;
            }
        }
    }

    /// With `--nodes`, waits until there are no more nodes than before the load, and the pods that moved are ready.
    async fn remove_nodes(&mut self, tail: &mut Option<ActiveLoad>) {
        let (Some(plan), Some(back)) = (&self.setup.nodes, self.timeline.marks.back) else {
            return;
        };
        while self.now() <= back + plan.deadline_seconds {
            self.sample(Phase::RemovingNodes, tail.as_ref()).await;
            if self.nodes.as_ref().is_some_and(NodeRecorder::is_back)
                && self.holds_for_all(|expected, hpa| hpa.is_at_minimum(expected))
            {
                return;
            }
        }
    }

    /// Waits for the next tick, and records a sample.
    async fn sample(&mut self, phase: Phase, load: Option<&ActiveLoad>) {
        self.ticks.tick().await;
        let began = Instant::now();
        let mut found = self.observer.observe().await;
        if let Some(nodes) = &mut self.nodes
            && let Err(error) = nodes.record(phase, began, &found).await
        {
            found.problem.get_or_insert(error.to_string());
            found.nodes = Err(error);
        }
        self.shares.record(&found);
        let load = match load {
            Some(ActiveLoad::Running(load)) => {
                let (before, now) = (self.last_snapshot, load.snapshot());
                self.last_snapshot = now;
                Some(LoadSample::between(&before, &now, load.rate()))
            }
            _ => None,
        };
        let sample = Sample {
            at: self.now(),
            phase,
            load,
            nodes: found.nodes.as_deref().ok().map(NodesSample::of),
            hpas: found.hpas,
            problem: found.problem,
        };
        (self.on_progress)(Progress::Sample(&sample));
        self.timeline.samples.push(sample);
        if phase == Phase::Settling {
            let excess = self.timeline.samples.len().saturating_sub(SETTLING_SAMPLES_KEPT);
            self.timeline.samples.drain(..excess);
        }
        self.sample_count += 1;
        if self.sample_count.is_multiple_of(SAMPLES_PER_EVENT_READ) || phase == Phase::Closing {
            self.record_events().await;
        }
    }

    async fn record_events(&mut self) {
        for event in self.events.fresh().await {
            (self.on_progress)(Progress::Event(&event));
            self.timeline.add_event(event);
        }
    }

    /// Returns whether the condition holds for every HPA in the last sample.
    fn holds_for_all(&self, holds: impl Fn(&Expected, &HpaSample) -> bool) -> bool {
        let Some(last) = self.timeline.samples.last() else {
            return false;
        };
        self.setup.expected.iter().all(|expected| {
            last.hpas
                .get(&expected.hpa)
                .is_some_and(|hpa| holds(expected, hpa))
        })
    }

    fn now(&self) -> f64 {
        self.origin.elapsed().as_secs_f64()
    }
}
