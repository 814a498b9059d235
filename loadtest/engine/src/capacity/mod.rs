//! `loadtest capacity`: finds the highest rate at which the targets stay within bounds. Each tried rate is a load of
//! its own.

mod report;
mod search;

use std::time::{Duration, Instant};

use jiff::Timestamp;

pub use self::{
    report::{CapacityReport, CapacityStep, SearchEnd, StepOutcome},
    search::{Search, SearchOptions},
};
use crate::{
    interrupt::Interrupt,
    load::Load,
    plan::Plan,
    probe::Addresses,
    report::LoadReport,
    schedule::{Schedule, Spacing},
    segment::Segment,
    threshold::Threshold,
    verdict::{Bounds, Outcome},
};

/// The bounds of a search.
#[derive(Clone, Debug)]
pub struct CapacityOptions {
    /// The rates.
    pub search: SearchOptions,
    /// The length of each step.
    pub step: Duration,
    /// The distribution of arrivals around the rate.
    pub spacing: Spacing,
    /// The maximum number of steps.
    pub max_steps: usize,
    /// The maximum time of all steps together. Requests in flight at the end of the last step can exceed it.
    pub max_time: Duration,
    /// The bounds that a held rate meets.
    pub bounds: Bounds,
    /// The thresholds that a held rate meets.
    pub thresholds: Vec<Threshold>,
}

/// Searches the highest rate that is held. `plan` describes the load apart from its schedule.
///
/// `on_step` is called after each step.
///
/// # Errors
/// When a generator thread fails.
pub async fn find_capacity(
    plan: &Plan,
    addresses: &Addresses,
    options: &CapacityOptions,
    interrupt: &mut Interrupt,
    on_step: &mut dyn FnMut(&CapacityStep),
) -> anyhow::Result<CapacityReport> {
    let (started_at, started) = (Timestamp::now(), Instant::now());
    let mut search = Search::new(options.search);
    let mut steps: Vec<CapacityStep> = Vec::new();
    let end = loop {
        let Some(rate) = search.next() else {
            break end(&search, &steps);
        };
        if steps.len() >= options.max_steps {
            break SearchEnd::MaxSteps;
        }
        if started.elapsed() + options.step > options.max_time {
            break SearchEnd::MaxTime;
        }
        let Some(report) = send(plan, addresses, options, rate, interrupt).await? else {
            break SearchEnd::Interrupted;
        };
        let step = judge(rate, &report, options);
        search.record(rate, step.outcome == StepOutcome::Held);
        on_step(&step);
        steps.push(step);
    };
    Ok(CapacityReport {
        schema: report::SCHEMA,
        version: env!("CARGO_PKG_VERSION"),
        started_at,
        targets: plan.mix.targets().to_vec(),
        step_seconds: options.step.as_secs_f64(),
        rate: search.highest(),
        missed_rate: search.lowest_missed(),
        end,
        steps,
    })
}

/// Returns why a search without a next rate ended.
fn end(search: &Search, steps: &[CapacityStep]) -> SearchEnd {
    let Some(missed) = search.lowest_missed() else {
        return SearchEnd::HighestRate;
    };
    let is_last_miss_invalid = steps
        .iter()
        .rfind(|step| step.rate == missed)
        .is_some_and(|step| step.outcome == StepOutcome::Invalid);
    match (is_last_miss_invalid, search.highest()) {
        (true, _) => SearchEnd::Generator,
        (false, Some(_)) => SearchEnd::Found,
        (false, None) => SearchEnd::LowestRate,
    }
}

/// Sends one step; returns `None` if a signal stopped it.
async fn send(
    plan: &Plan,
    addresses: &Addresses,
    options: &CapacityOptions,
    rate: u32,
    interrupt: &mut Interrupt,
) -> anyhow::Result<Option<LoadReport>> {
    let segment = Segment::constant(options.step, f64::from(rate));
    let plan = Plan {
        schedule: Schedule::from_segments(&[segment], options.spacing),
        ..plan.clone()
    };
    let mut load = Load::start(plan, addresses)?;
    let interrupted = tokio::select! {
        drained = load.drained() => drained.map(|()| false)?,
        () = interrupt.requested() => true,
    };
    if interrupted {
        load.stop();
        load.drained().await?;
        return Ok(None);
    }
    Ok(Some(load.report()))
}

fn judge(rate: u32, report: &LoadReport, options: &CapacityOptions) -> CapacityStep {
    let verdict = report.judge(&options.bounds, &options.thresholds, false);
    CapacityStep {
        rate,
        outcome: match verdict.outcome {
            Outcome::Passed => StepOutcome::Held,
            Outcome::Failed | Outcome::Interrupted => StepOutcome::Missed,
            Outcome::Invalid => StepOutcome::Invalid,
        },
        reasons: verdict.reasons,
        requests: report.requests,
        latency_ms: report.latency_ms,
        thresholds: verdict.thresholds,
    }
}
