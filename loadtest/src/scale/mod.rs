//! `loadtest scale`: a step of load that needs N replicas, and the proof that the cluster does what it should.

mod assertion;
mod breakdown;
mod command;
mod drive;
mod html;
mod lines;
mod observe;
mod plan;
mod report;
mod shares;
mod spread;
mod stage;
mod subject;
mod text;
mod timeline;
mod trace;
mod tracer;
mod verdict;

pub use self::{
    assertion::{Assertion, Standing},
    breakdown::{PodPath, Reading, StageTime, TimeToScale},
    command::run,
    drive::{Recording, Setup, drive},
    html::render as render_html,
    plan::{Expected, check_tail, expect, safe_rate},
    report::{ScaleConfig, ScaleReport, ScaleRun, ScaleVerdict},
    shares::{PodShare, Shares},
    spread::{Spread, StageSpread, spread},
    stage::Stage,
    timeline::{Deadlines, EventMark, HpaSample, LoadSample, Marks, NodesSample, Phase, Sample, Timeline},
    trace::{Decision, MetricLook, PodTrace, Seen, Trace},
    verdict::{Measured, assess},
};
