//! `loadtest scale`: a step of load that needs N replicas, and the proof that the cluster does what it should.

mod assertion;
mod breakdown;
mod drive;
mod observe;
mod plan;
mod progress;
mod report;
mod setup;
mod shares;
mod spread;
mod stage;
mod subject;
mod timeline;
mod trace;
mod tracer;
mod verdict;

pub use self::{
    assertion::{Assertion, AssertionVerdict},
    breakdown::{PodPath, TimeEstimate, StageTime, TimeToScale},
    drive::{Recording, drive},
    plan::{Expected, check_tail, expect, safe_rate},
    progress::Progress,
    report::{ScaleConfig, ScaleReport, ScaleRun, ScaleVerdict},
    setup::Setup,
    shares::{PodShare, Shares},
    spread::{Spread, StageSpread, spread},
    stage::Stage,
    timeline::{Deadlines, EventMark, HpaSample, LoadSample, Marks, NodesSample, Phase, Sample, Timeline},
    trace::{Decision, MetricSample, PodTrace, TimeRange, Trace},
    verdict::{Measurements, assess},
};
