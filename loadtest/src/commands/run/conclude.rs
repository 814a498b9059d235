//! The end of `run`, `job` and `merge`: the verdict, the reports and the exit code.

use anyhow::Context;
use engine::{Bounds, LoadReport, Outcome, Verdict};
use schemars::JsonSchema;
use serde::Serialize;

use super::{suite::suite, text};
use crate::{
    exit::Exit,
    options::{DEFAULT_MAX_LAG, ResultOptions},
    output::{self, OutputFile},
    page,
};

/// The JSON report of a run: the measurements and the verdict.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct RunReport<'report> {
    /// The measurements.
    #[serde(flatten)]
    pub(crate) report: &'report LoadReport,
    /// Whether the run is valid, and whether it meets its bounds.
    pub(crate) verdict: &'report Verdict,
}

/// Judges a finished run, writes its reports and returns the exit code.
///
/// # Errors
/// When writing a report fails.
pub(crate) fn conclude(
    report: &LoadReport,
    options: ResultOptions,
    interrupted: bool,
) -> anyhow::Result<Exit> {
    let bounds = Bounds {
        max_lag: options.max_lag.unwrap_or(DEFAULT_MAX_LAG),
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

/// Writes the JSON file and prints the report as JSON or text.
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

/// Returns the exit code of an outcome.
fn exit(outcome: Outcome) -> Exit {
    match outcome {
        Outcome::Passed => Exit::Ok,
        Outcome::Failed => Exit::ThresholdBroken,
        Outcome::Invalid => Exit::Invalid,
        Outcome::Interrupted => Exit::Interrupted,
    }
}
