//! `loadtest scale`: a step of load that needs N replicas, and the proof that the cluster does what it should.

mod assertion;
mod command;
mod drive;
mod html;
mod lines;
mod observe;
mod plan;
mod report;
mod timeline;
mod verdict;

pub use self::{
    assertion::{Assertion, Standing},
    command::run,
    drive::{Recording, Setup, drive},
    html::render as render_html,
    plan::{Expected, check_tail, expect, safe_rate},
    report::{ScaleConfig, ScaleReport, ScaleVerdict},
    timeline::{Deadlines, EventMark, HpaSample, LoadSample, Marks, Phase, Sample, Timeline},
    verdict::{Measured, assess},
};
