//! The run: rest, step, plateau, the way back under a light load, a last look. Records, and leaves judging to others.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use engine::{Interrupt, Load, LoadReport, Snapshot};
use jiff::Timestamp;
use tokio::{
    task::JoinHandle,
    time::{self, Interval, MissedTickBehavior},
};

use super::{
    observe::{Events, observe},
    plan::Expected,
    progress::Progress,
    setup::Setup,
    shares::{Shares, counted},
    timeline::{Deadlines, HpaSample, LoadSample, NodesSample, Phase, Sample, Timeline},
    trace::Trace,
    tracer::Tracer,
};
use crate::cluster::Cluster;

/// Between two looks at the cluster.
const PERIOD: Duration = Duration::from_secs(1);

/// Between two looks at its events, in looks.
const EVENTS_EVERY: u32 = 2;

/// Looks after the tail has ended.
const CLOSING_LOOKS: u32 = 3;

/// Requests a second that still count as none: a person who looks at the page does not disturb the run.
const REST: f64 = 1.0;

/// Samples before the load that are kept, for the beginning of the plots.
const SETTLING_KEPT: usize = 10;

/// What a run leaves behind.
#[derive(Debug)]
pub struct Recording {
    /// The record of the cluster.
    pub timeline: Timeline,
    /// The step, if it began.
    pub step: Option<LoadReport>,
    /// The tail, if it began.
    pub tail: Option<LoadReport>,
    /// What was seen of the way to the new pods, by HPA.
    pub traces: BTreeMap<String, Trace>,
    /// Which pod served how much.
    pub shares: Shares,
    /// When the load began.
    pub began_at: Option<Timestamp>,
    /// Whether the user stopped it.
    pub interrupted: bool,
}

impl Recording {
    /// Of a run that sent no load.
    #[must_use]
    pub fn without_load(timeline: Timeline, interrupted: bool) -> Self {
        Self {
            timeline,
            step: None,
            tail: None,
            traces: BTreeMap::new(),
            shares: Shares::default(),
            began_at: None,
            interrupted,
        }
    }
}

/// Carries out the run. A cluster that cannot be read shows in the record and does not end it.
///
/// # Errors
/// When the generator itself fails.
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
        let phases = driver.phases(&mut step, &mut tail);
        tokio::select! {
            ended = phases => ended?,
            () = interrupt.requested() => interrupted = true,
        }
    }
    if interrupted {
        (driver.on_progress)(Progress::Stopping);
    }
    let (step, tail) = (ended(step).await?, ended(tail).await?);
    Ok(Recording {
        timeline: driver.timeline,
        step,
        tail,
        traces: driver.tracer.map(|tracer| tracer.traces()).unwrap_or_default(),
        shares: driver.shares,
        began_at: driver.began_at,
        interrupted,
    })
}

/// A load that is under way, or on its way out.
enum Flow {
    Running(Load),
    Ending(JoinHandle<anyhow::Result<LoadReport>>),
}

impl Flow {
    /// Ends the arrivals, without waiting for the answers.
    fn stop(self) -> Self {
        match self {
            Self::Running(mut load) => {
                load.stop();
                Self::Ending(tokio::spawn(async move {
                    load.drained().await?;
                    Ok(load.report())
                }))
            }
            ending @ Self::Ending(_) => ending,
        }
    }
}

async fn ended(flow: Option<Flow>) -> anyhow::Result<Option<LoadReport>> {
    match flow.map(Flow::stop) {
        Some(Flow::Ending(report)) => Ok(Some(report.await??)),
        _ => Ok(None),
    }
}

struct Driver<'a> {
    cluster: &'a Cluster,
    setup: &'a Setup,
    timeline: Timeline,
    origin: Instant,
    began_at: Option<Timestamp>,
    events: Option<Events>,
    tracer: Option<Tracer>,
    shares: Shares,
    looks: u32,
    previous: Snapshot,
    on_progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
    ticks: Interval,
}

impl<'a> Driver<'a> {
    fn new(
        cluster: &'a Cluster,
        setup: &'a Setup,
        on_progress: &'a mut (dyn FnMut(Progress<'_>) + Send),
    ) -> Self {
        let mut ticks = time::interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            cluster,
            setup,
            timeline: Timeline::new(setup.expected.clone(), setup.deadlines),
            origin: Instant::now(),
            began_at: None,
            events: None,
            tracer: None,
            shares: Shares::default(),
            looks: 0,
            previous: Snapshot::default(),
            on_progress,
            ticks,
        }
    }

    /// The loads are the caller's, so that they can be ended in order when this is dropped half-way.
    async fn phases(&mut self, step: &mut Option<Flow>, tail: &mut Option<Flow>) -> anyhow::Result<()> {
        if !self.settle().await {
            return Ok(());
        }
        self.shares.begin(counted(self.cluster, self.setup).await);
        let tracer = Tracer::prepare(self.cluster, self.setup).await;
        self.begin(step, tracer)?;
        self.hold(step).await;
        *step = step.take().map(Flow::stop);
        self.timeline.marks.load_ended = Some(self.now());
        self.tracer.iter_mut().for_each(Tracer::stop);
        self.shares.end(counted(self.cluster, self.setup).await);
        if let Some(plan) = &self.setup.tail {
            self.previous = Snapshot::default();
            *tail = Some(Flow::Running(Load::start(plan.clone(), &self.setup.addresses)?));
        }
        self.return_to_minimum(tail).await;
        if let Some(flow) = tail.take() {
            *tail = Some(flow.stop());
        }
        for _ in 0..CLOSING_LOOKS {
            self.look(Phase::Closing, None).await;
        }
        Ok(())
    }

    /// Waits until every HPA is at its minimum and sees no requests. Says whether it came to that.
    async fn settle(&mut self) -> bool {
        while self.now() <= self.setup.deadlines.settle {
            self.look(Phase::Settling, None).await;
            let excess = self.timeline.samples.len().saturating_sub(SETTLING_KEPT);
            self.timeline.samples.drain(..excess);
            if self
                .all(|expected, hpa| is_back(expected, hpa) && hpa.metric_sum.is_some_and(|sum| sum <= REST))
            {
                self.timeline.marks.settled = Some(self.now());
                return true;
            }
        }
        false
    }

    fn begin(&mut self, step: &mut Option<Flow>, mut tracer: Tracer) -> anyhow::Result<()> {
        let load = Load::start(self.setup.step.clone(), &self.setup.addresses)?;
        let began_at = load.started_at();
        self.timeline.shift(self.now());
        self.origin = load.start_time();
        *step = Some(Flow::Running(load));
        self.began_at = Some(began_at);
        self.events = Some(Events::since(began_at));
        tracer.begin(self.origin);
        self.tracer = Some(tracer);
        Ok(())
    }

    /// Waits for the replicas, and then for the plateau.
    async fn hold(&mut self, step: &mut Option<Flow>) {
        let Deadlines {
            scale_up, plateau, ..
        } = self.setup.deadlines;
        while self.now() <= scale_up {
            self.look(Phase::ScalingUp, step.as_ref()).await;
            if self.all(|expected, hpa| hpa.ready == expected.replicas) {
                let began = self.now();
                self.timeline.marks.plateau_began = Some(began);
                while self.now() < began + plateau {
                    self.look(Phase::Plateau, step.as_ref()).await;
                }
                self.timeline.marks.plateau_ended = Some(self.now());
                return;
            }
        }
    }

    /// Waits until the minimum is reached and the last pod that goes is gone: until then its requests count.
    async fn return_to_minimum(&mut self, tail: &mut Option<Flow>) {
        let deadline = self.now() + self.setup.deadlines.scale_down;
        while self.now() <= deadline {
            self.look(Phase::ScalingDown, tail.as_ref()).await;
            if self.all(is_back) {
                self.timeline.marks.back = Some(self.now());
                return;
            }
        }
    }

    /// Waits for the next second and records it.
    async fn look(&mut self, phase: Phase, flow: Option<&Flow>) {
        self.ticks.tick().await;
        let found = observe(self.cluster, &self.setup.namespace, &self.setup.expected).await;
        self.shares.note(&found);
        let load = match flow {
            Some(Flow::Running(load)) => {
                let (before, now) = (self.previous, load.snapshot());
                self.previous = now;
                Some(LoadSample::between(&before, &now, load.rate()))
            }
            _ => None,
        };
        let sample = Sample {
            at: self.now(),
            phase,
            load,
            nodes: found.nodes.as_deref().map(NodesSample::of),
            hpas: found.hpas,
            problem: found.problem,
        };
        (self.on_progress)(Progress::Sample(&sample));
        self.timeline.samples.push(sample);
        self.looks += 1;
        if self.looks.is_multiple_of(EVENTS_EVERY) || phase == Phase::Closing {
            self.note_events().await;
        }
    }

    async fn note_events(&mut self) {
        let Some(events) = &mut self.events else { return };
        for event in events
            .fresh(self.cluster, &self.setup.namespace, &self.setup.expected)
            .await
        {
            (self.on_progress)(Progress::Event(&event));
            self.timeline.add_event(event);
        }
    }

    /// Whether the last look shows this of every HPA.
    fn all(&self, holds: impl Fn(&Expected, &HpaSample) -> bool) -> bool {
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

/// Whether an HPA is at its minimum, with no pod on its way out.
fn is_back(expected: &Expected, hpa: &HpaSample) -> bool {
    let min = expected.min;
    hpa.desired == min && hpa.ready == min && usize::try_from(min).is_ok_and(|min| hpa.pods == min)
}
