//! The command: reads the runs, compares number by number, says what is worse.

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
    /// What is compared.
    runs: Runs,
    /// Each number, in order.
    numbers: Vec<Row>,
}

/// The runs of both sides.
#[derive(Debug, Serialize, JsonSchema)]
struct Runs {
    /// How many before.
    before: usize,
    /// How many after.
    after: usize,
    /// Not all of one side began before the other; else what changed may be the machine as well as the server.
    in_turns: bool,
}

/// A run, and the file that it is from.
type Read<'a> = (&'a Path, Run);

/// Carries out the command.
///
/// # Errors
/// [`BadConfiguration`] where a file is no run, or the runs cannot be compared.
pub fn run(options: &CompareOptions) -> anyhow::Result<Exit> {
    let (before, after) = (&options.before, &options.after);
    if before.len().min(after.len()) == 1 && before.len() != after.len() {
        return Err(BadConfiguration(format!(
            "{} before, {} after: how far runs are apart takes two at least, of each side",
            runs(before.len()),
            runs(after.len())
        ))
        .into());
    }
    let (before, after) = (read(before)?, read(after)?);
    refuse_what_cannot_be_compared(&before.iter().chain(&after).collect::<Vec<_>>())?;
    let measured = |side: &[Read<'_>]| -> Vec<RunMetrics> {
        side.iter().map(|(_, run)| RunMetrics::from_run(run)).collect()
    };
    let numbers = compare(&measured(&before), &measured(&after), options.tolerance);
    let comparison = Comparison {
        schema: SCHEMA,
        worse: numbers.iter().any(|row| row.change == Change::Worse),
        runs: Runs {
            before: before.len(),
            after: after.len(),
            in_turns: !is_earlier(&before, &after) && !is_earlier(&after, &before),
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

fn read(files: &[PathBuf]) -> Result<Vec<Read<'_>>, BadConfiguration> {
    let runs = files.iter().map(|path| Ok((path.as_path(), Run::read(path)?)));
    runs.collect()
}

fn refuse_what_cannot_be_compared(all: &[&Read<'_>]) -> Result<(), BadConfiguration> {
    for (place, (path, run)) in all.iter().enumerate() {
        for (earlier, other) in &all[..place] {
            let why = if run == other {
                "are the same run"
            } else if !run.has_same_plan(other) {
                "did not send the same load (`plan` in the files); compare runs of the same command"
            } else {
                continue;
            };
            return Err(BadConfiguration(format!(
                "{} and {} {why}",
                earlier.display(),
                path.display()
            )));
        }
    }
    Ok(())
}

/// Whether each run of `one` began before any of the `other`.
fn is_earlier(one: &[Read<'_>], other: &[Read<'_>]) -> bool {
    let mut pairs = one
        .iter()
        .flat_map(|run| other.iter().map(move |other| (run, other)));
    pairs.all(|((_, run), (_, other))| run.started_at < other.started_at)
}

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
    let of_before = format!("before, {}", runs(before));
    line(format_args!("  {:<8} {of_before:<26} after, {}", "", runs(after)));
    for row in &comparison.numbers {
        let word = match row.change {
            Change::None => "no difference shown",
            Change::Better => "better",
            Change::Worse => "WORSE",
            Change::Unknown => "not measured",
        };
        let (before, after) = (shown(row.before, row.unit), shown(row.after, row.unit));
        let by = relative(row);
        line(format_args!(
            "  {:<8} {before:<26} {after:<26} {by}{word}",
            row.name
        ));
    }
    if before == 1 {
        line(format_args!(
            "One run of each cannot tell a change of the machine from one of the server. Several that took turns can:\n  \
             loadtest compare --before FILE… --after FILE…"
        ));
    } else if !in_turns {
        line(format_args!(
            "All runs of one side were before the other's, so that a change of the machine looks like one of the server: \
             take turns."
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

fn shown(estimate: Option<Estimate>, unit: &str) -> String {
    let Some(Estimate { value, low, high }) = estimate else {
        return "-".to_owned();
    };
    let high = high.map_or("?".to_owned(), short);
    format!("{} ({} … {high}) {unit}", short(value), short(low))
}

/// How much more it is after.
fn relative(row: &Row) -> String {
    match (row.difference, row.before, row.after) {
        (Some(Estimate { value, low, high }), ..) => {
            let unit = if row.unit == "%" { "points" } else { "%" };
            let high = high.map_or("?".to_owned(), |high| format!("{high:+.1}"));
            format!("{value:+.1} ({low:+.1} … {high}) {unit}  ")
        }
        (None, Some(before), Some(after)) if before.value > 0.0 => {
            format!("{:+.1} %  ", (after.value / before.value - 1.0) * 100.0)
        }
        _ => String::new(),
    }
}
