//! `loadtest run`: load by a schedule, live progress, a report.

mod html;
mod progress;
mod stripe;
mod suite;
mod text;

use std::time::Duration;

use anyhow::Context;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    cli::{ResultArguments, ResultFiles, RunArguments},
    exit::{BadConfiguration, Exit},
    load::{Addresses, Bounds, Load, LoadReport, Outcome, Plan, Verdict, probe},
    output::{self, OutputFile},
    signals::Interrupt,
};

pub use self::{html::render as render_html, suite::suite, text::render as render_text};

/// How long the probe before a load waits for a connection.
const PROBE_PATIENCE: Duration = Duration::from_secs(5);

/// The most lag of the generator, where the user sets no bound: latencies are the result.
pub(crate) const MAX_LAG: Duration = Duration::from_millis(20);

/// The JSON of a run: the report and the verdict on it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RunReport<'report> {
    /// What was measured.
    #[serde(flatten)]
    pub report: &'report LoadReport,
    /// Whether it can be trusted, and whether it is good.
    pub verdict: &'report Verdict,
}

/// Carries out the command. Progress goes to standard error, the report to standard output.
///
/// # Errors
/// [`BadConfiguration`] before any load; anything else is a fault of this program or machine.
pub async fn run(arguments: &RunArguments, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let task = &arguments.task;
    if let (Some(stripe), Some(start_at)) = (arguments.stripe, arguments.start_at) {
        return stripe::run(task, stripe, start_at, interrupt).await;
    }
    let plan = task.plan()?;
    let planned = plan.schedule.duration();
    let files = task.result.open()?;
    let Some(addresses) = reached(&plan, &mut interrupt).await? else {
        return Ok(Exit::Interrupted);
    };
    let mut load = Load::start(plan, &addresses)?;
    let interrupted = progress::until_drained(&mut load, planned, &mut interrupt).await?;
    let bounds = task.load.bounds(task.result.max_failed(), MAX_LAG);
    conclude(&load.report(), &bounds, &task.result, files, interrupted)
}

/// Where the hosts are; `None` where the user stopped the search.
async fn reached(plan: &Plan, interrupt: &mut Interrupt) -> anyhow::Result<Option<Addresses>> {
    tokio::select! {
        probed = probe(&plan.mix, &plan.network, PROBE_PATIENCE) => Ok(Some(probed.map_err(BadConfiguration::new)?)),
        () = interrupt.requested() => Ok(None),
    }
}

/// Judges a run that is over, writes its reports, and says how the program ends.
///
/// # Errors
/// When a report cannot be written.
pub(crate) fn conclude(
    report: &LoadReport,
    bounds: &Bounds,
    arguments: &ResultArguments,
    files: ResultFiles,
    interrupted: bool,
) -> anyhow::Result<Exit> {
    let verdict = report.judge(bounds, &arguments.threshold, interrupted);
    let suite = suite(report, bounds, &verdict);
    if let Some(file) = files.html {
        file.write(render_html(report, verdict.outcome, &suite)?.as_bytes())?;
    }
    files.reports.write(&suite)?;
    publish(report, &verdict, arguments.json, files.output)?;
    Ok(exit(verdict.outcome))
}

fn publish(
    report: &LoadReport,
    verdict: &Verdict,
    json: bool,
    file: Option<OutputFile>,
) -> anyhow::Result<()> {
    let mut encoded =
        serde_json::to_string_pretty(&RunReport { report, verdict }).context("encoding the report")?;
    encoded.push('\n');
    if let Some(file) = file {
        file.write(encoded.as_bytes())?;
    }
    output::print(&if json {
        encoded
    } else {
        text::render(report, verdict)
    })
}

/// The exit code of an outcome.
#[must_use]
pub fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Passed => Exit::Ok,
        Outcome::Failed => Exit::ThresholdBroken,
        Outcome::Invalid => Exit::Invalid,
        Outcome::Interrupted => Exit::Interrupted,
    }
}
