//! The end of a run: its verdict, its reports and its exit code.

use std::time::Duration;

use anyhow::Context;
use engine::{Bounds, LoadReport, Outcome, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

use super::{suite::suite, text};
use crate::{
    exit::Exit,
    options::ResultOptions,
    output::{self, OutputFile},
    page,
};

/// The most lag of the generator, where the user sets no bound: latencies are the result.
const MAX_LAG: Duration = Duration::from_millis(20);

/// The JSON of a run: the report and the verdict on it.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunReport<'report> {
    /// What was measured.
    #[serde(flatten)]
    pub(crate) report: &'report LoadReport,
    /// Whether it can be trusted, and whether it is good.
    pub(crate) verdict: &'report Verdict,
}

/// Judges a run that is over, writes its reports, and says how the program ends.
///
/// # Errors
/// When a report cannot be written.
pub(crate) fn conclude(
    report: &LoadReport,
    options: ResultOptions,
    interrupted: bool,
) -> anyhow::Result<Exit> {
    let bounds = Bounds {
        max_lag: options.max_lag.unwrap_or(MAX_LAG),
        max_failed: options.max_failed,
    };
    let files = options.files;
    let verdict = report.judge(&bounds, &options.thresholds, interrupted);
    let suite = suite(report, &bounds, &verdict);
    if let Some(file) = files.html {
        file.write(page::render_run(report, verdict.outcome, &suite)?.as_bytes())?;
    }
    files.reports.write(&suite)?;
    publish(report, &verdict, options.json, files.output)?;
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
fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Passed => Exit::Ok,
        Outcome::Failed => Exit::ThresholdBroken,
        Outcome::Invalid => Exit::Invalid,
        Outcome::Interrupted => Exit::Interrupted,
    }
}
