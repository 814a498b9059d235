//! The command: reads both, compares number by number, says what is worse.

use std::fmt::Write as _;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    estimate::{Estimate, Sample, share},
    run::Run,
};
use crate::{
    cli::CompareArguments,
    exit::{BadConfiguration, Exit},
    output,
    units::short,
};

/// The version of [`Comparison`]'s JSON form. Grows when a field changes its meaning or goes, not when one joins.
const SCHEMA: &str = "loadtest.compare/v1";

/// The JSON of the command.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Comparison {
    /// The version of this form.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// Something is worse.
    worse: bool,
    /// Each number that both runs have, in order.
    numbers: Vec<Row>,
}

/// One number of both runs.
#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    /// Which: `mean` or a percentile of the latency, or `failed`.
    name: &'static str,
    /// Of `before` and `after`: `ms`, or `%` of what was due.
    unit: &'static str,
    /// In the first run; nothing where it was not measured.
    before: Option<Estimate>,
    /// In the second.
    after: Option<Estimate>,
    /// What became of it.
    change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Change {
    /// Not to be told from chance, or less than the tolerance.
    None,
    /// Less than before.
    Better,
    /// More than before.
    Worse,
    /// One of the runs has no such number.
    Unknown,
}

/// Carries out the command.
///
/// # Errors
/// [`BadConfiguration`] where a file is no run, or the two cannot be compared.
pub fn run(arguments: &CompareArguments) -> anyhow::Result<Exit> {
    let (before, after) = (Run::read(&arguments.before)?, Run::read(&arguments.after)?);
    if !before.is_like(&after) {
        return Err(BadConfiguration(format!(
            "{} and {} did not send the same load (`plan` in the files); compare runs of the same command",
            arguments.before.display(),
            arguments.after.display()
        ))
        .into());
    }
    let numbers = compare(&before, &after, arguments.tolerance.0);
    let comparison = Comparison {
        schema: SCHEMA,
        worse: numbers.iter().any(|row| row.change == Change::Worse),
        numbers,
    };
    if arguments.json {
        output::print(&format!("{}\n", serde_json::to_string_pretty(&comparison)?))?;
    } else {
        output::print(&render(&comparison))?;
    }
    Ok(if comparison.worse {
        Exit::ThresholdBroken
    } else {
        Exit::Ok
    })
}

fn compare(before: &Run, after: &Run, tolerance: f64) -> Vec<Row> {
    let samples = (
        Sample::new(before.latency_histogram.clone(), &before.seconds()),
        Sample::new(after.latency_histogram.clone(), &after.seconds()),
    );
    let latency = |name, read: &dyn Fn(&Sample) -> Option<Estimate>| {
        row(name, "ms", read(&samples.0), read(&samples.1), tolerance)
    };
    let failed = |run: &Run| {
        let share = share(run.requests.failed, run.requests.scheduled)?;
        Some(Estimate {
            value: share.value * 100.0,
            low: share.low * 100.0,
            high: share.high.map(|high| high * 100.0),
        })
    };
    vec![
        latency("mean", &Sample::mean),
        latency("p50", &|sample| sample.quantile(0.5)),
        latency("p90", &|sample| sample.quantile(0.9)),
        latency("p99", &|sample| sample.quantile(0.99)),
        latency("p99.9", &|sample| sample.quantile(0.999)),
        row("failed", "%", failed(before), failed(after), tolerance),
    ]
}

/// Less is better, of every number here.
fn row(
    name: &'static str,
    unit: &'static str,
    before: Option<Estimate>,
    after: Option<Estimate>,
    tolerance: f64,
) -> Row {
    let change = match (&before, &after) {
        (Some(before), Some(after)) => {
            let off = (after.value - before.value).abs();
            let matters = before.differs_from(after) && off > tolerance * before.value;
            match (matters, after.value > before.value) {
                (false, _) => Change::None,
                (true, true) => Change::Worse,
                (true, false) => Change::Better,
            }
        }
        _ => Change::Unknown,
    };
    Row {
        name,
        unit,
        before,
        after,
        change,
    }
}

fn render(comparison: &Comparison) -> String {
    let mut text = String::new();
    let headline = if comparison.worse { "WORSE" } else { "NOT WORSE" };
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    line(format_args!("{headline}"));
    line(format_args!("  {:<8} {:<26} {:<26}", "", "before", "after"));
    for row in &comparison.numbers {
        let word = match row.change {
            Change::None => "no difference shown",
            Change::Better => "better",
            Change::Worse => "WORSE",
            Change::Unknown => "not measured",
        };
        let by = match (&row.before, &row.after) {
            (Some(before), Some(after)) if before.value > 0.0 => {
                format!("{:+.1} %  ", (after.value / before.value - 1.0) * 100.0)
            }
            _ => String::new(),
        };
        let (before, after) = (shown(row.before, row.unit), shown(row.after, row.unit));
        line(format_args!(
            "  {:<8} {before:<26} {after:<26} {by}{word}",
            row.name
        ));
    }
    text
}

fn shown(estimate: Option<Estimate>, unit: &str) -> String {
    let Some(Estimate { value, low, high }) = estimate else {
        return "-".to_owned();
    };
    let high = high.map_or("?".to_owned(), short);
    format!("{} ({} … {high}) {unit}", short(value), short(low))
}
