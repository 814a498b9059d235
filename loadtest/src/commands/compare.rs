//! `loadtest compare`: reads the runs, compares each number and reports which numbers are worse.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use engine::{
    BadConfiguration,
    compare::{Change, Estimate, Row, Run, RunMetrics, compare},
    units::short,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{exit::Exit, options::CompareOptions, output};

/// The version of the JSON format of [`Comparison`]. It increases when a field is removed or changes its meaning.
const SCHEMA: &str = "loadtest.compare/v2";

/// The JSON report of the command.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Comparison {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA))]
    schema: &'static str,
    /// Whether any number is worse.
    worse: bool,
    /// The compared runs.
    runs: Runs,
    /// The compared numbers.
    numbers: Vec<Row>,
}

/// The runs of both sides.
#[derive(Debug, Serialize, JsonSchema)]
struct Runs {
    /// The number of runs before the change.
    before: usize,
    /// The number of runs after the change.
    after: usize,
    /// Whether the runs of both sides alternated. If not, the machine may have changed instead of the server.
    in_turns: bool,
}

/// A run and its file.
type RunFile<'a> = (&'a Path, Run);

/// Runs the command.
///
/// # Errors
/// [`BadConfiguration`] when a file does not contain a valid run, or the runs are not comparable.
pub fn run(options: &CompareOptions) -> anyhow::Result<Exit> {
    let (before, after) = (&options.before, &options.after);
    if before.len().min(after.len()) == 1 && before.len() != after.len() {
        return Err(BadConfiguration(format!(
            "{} before, {} after: to measure the variation between runs, give at least 2 runs for each side",
            runs(before.len()),
            runs(after.len())
        ))
        .into());
    }
    let (before, after) = (read(before)?, read(after)?);
    check_comparable(&before.iter().chain(&after).collect::<Vec<_>>())?;
    if let [(_, run)] = &before[..] {
        run.check_length()?;
    }
    let measured = |side: &[RunFile<'_>]| -> Vec<RunMetrics> {
        side.iter().map(|(_, run)| RunMetrics::from_run(run)).collect()
    };
    let numbers = compare(&measured(&before), &measured(&after), options.tolerance);
    let comparison = Comparison {
        schema: SCHEMA,
        worse: numbers.iter().any(|row| row.change == Change::Worse),
        runs: Runs {
            before: before.len(),
            after: after.len(),
            in_turns: !all_began_before(&before, &after) && !all_began_before(&after, &before),
        },
        numbers,
    };
    if options.json {
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

fn read(files: &[PathBuf]) -> Result<Vec<RunFile<'_>>, BadConfiguration> {
    let runs = files.iter().map(|path| Ok((path.as_path(), Run::read(path)?)));
    runs.collect()
}

fn check_comparable(all: &[&RunFile<'_>]) -> Result<(), BadConfiguration> {
    for (index, (path, run)) in all.iter().enumerate() {
        for (other_path, other) in &all[..index] {
            let files = format!("{} and {}", other_path.display(), path.display());
            if run == other {
                return Err(BadConfiguration(format!("{files} are the same run")));
            }
            let differences = other.load_differences(run);
            if !differences.is_empty() {
                return Err(BadConfiguration(format!(
                    "{files} did not send the same load; compare runs of the same command. The differences:{}",
                    listed(&differences)
                )));
            }
        }
    }
    Ok(())
}

/// Returns the lines as an indented list. A long list is cut off.
fn listed(lines: &[String]) -> String {
    const MAX_LINES: usize = 20;
    let shown = lines.iter().take(MAX_LINES).map(|line| format!("\n  {line}"));
    let rest = lines.len().saturating_sub(MAX_LINES);
    let more = (rest > 0).then(|| format!("\n  and {rest} more"));
    shown.chain(more).collect()
}

/// Returns whether every run of `first` began before every run of `second`.
fn all_began_before(first: &[RunFile<'_>], second: &[RunFile<'_>]) -> bool {
    let mut pairs = first
        .iter()
        .flat_map(|earlier| second.iter().map(move |later| (earlier, later)));
    pairs.all(|((_, earlier), (_, later))| earlier.started_at < later.started_at)
}

/// Formats the comparison as text, one line per number.
fn render(comparison: &Comparison) -> String {
    let Runs {
        before,
        after,
        in_turns,
    } = comparison.runs;
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        writeln!(text, "{line}").expect("writing to a String does not fail");
    };
    line(format_args!(
        "{}",
        if comparison.worse { "WORSE" } else { "NOT WORSE" }
    ));
    let heading_before = format!("before, {}", runs(before));
    line(format_args!(
        "  {:<8} {heading_before:<26} after, {}",
        "",
        runs(after)
    ));
    for row in &comparison.numbers {
        let word = match row.change {
            Change::None => "no significant change",
            Change::Better => "better",
            Change::Worse => "WORSE",
            Change::Unknown => "not measured",
        };
        let (before, after) = (estimate(row.before, row.unit), estimate(row.after, row.unit));
        let difference = difference(row);
        line(format_args!(
            "  {:<8} {before:<26} {after:<26} {difference}{word}",
            row.name
        ));
    }
    if before == 1 {
        line(format_args!(
            "One run of each side cannot distinguish a change of the machine from a change of the server. \
             Several alternating runs can:\n  loadtest compare --before FILE… --after FILE…"
        ));
    } else if !in_turns {
        line(format_args!(
            "All runs of one side began before the runs of the other side. \
             A change of the machine would look like a change of the server: alternate the runs."
        ));
    }
    text
}

fn runs(count: usize) -> String {
    match count {
        1 => "1 run".to_owned(),
        count => format!("{count} runs"),
    }
}

/// Formats a value with its confidence interval, if there is one: `value (low … high) unit`.
fn estimate(estimate: Option<Estimate>, unit: &str) -> String {
    let Some(estimate) = estimate else {
        return "-".to_owned();
    };
    format!("{} {unit}", with_interval(&estimate, short))
}

fn with_interval(estimate: &Estimate, format: impl Fn(f64) -> String) -> String {
    let interval = estimate.low.zip(estimate.high);
    let interval = interval.map(|(low, high)| format!(" ({} … {})", format(low), format(high)));
    format(estimate.value) + &interval.unwrap_or_default()
}

/// Formats the change from before to after: `value (low … high) unit` for several runs, otherwise a percentage and the
/// p-value.
fn difference(row: &Row) -> String {
    let percent = |value: f64| format!("{value:+.1}");
    let (Some(before), Some(after)) = (row.before, row.after) else {
        return String::new();
    };
    let p_value = row
        .p_value
        .map(|p_value| format!("p {p_value:.3}  "))
        .unwrap_or_default();
    match row.difference {
        Some(difference) => {
            let unit = if row.unit == "%" { "points" } else { "%" };
            format!("{} {unit}  ", with_interval(&difference, percent))
        }
        None if before.value > 0.0 => {
            format!(
                "{} %  {p_value}",
                percent((after.value / before.value - 1.0) * 100.0)
            )
        }
        None => p_value,
    }
}
