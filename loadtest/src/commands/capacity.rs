//! `loadtest capacity`: shows each step of the search, and prints the highest rate that the targets hold.

use std::fmt::Write as _;

use anyhow::Context;
use engine::{
    Interrupt,
    capacity::{CapacityReport, CapacityStep, SearchEnd, StepOutcome, find_capacity},
    units::short,
};

use super::run::{probe_hosts, target};
use crate::{exit::Exit, options::CapacityCommandOptions, output};

/// Runs the command. Prints each step to standard error and the result to standard output.
///
/// # Errors
/// [`BadConfiguration`](engine::BadConfiguration) before the load; otherwise a failure of this program or machine.
pub async fn run(options: CapacityCommandOptions, mut interrupt: Interrupt) -> anyhow::Result<Exit> {
    let CapacityCommandOptions {
        plan,
        search,
        json,
        output,
    } = options;
    let Some(addresses) = probe_hosts(&plan, &mut interrupt).await? else {
        return Ok(Exit::Interrupted);
    };
    let mut number = 0;
    let mut on_step = |step: &CapacityStep| {
        number += 1;
        output::status(format_args!("step {number:>2}: {}", describe(step)));
    };
    let report = find_capacity(&plan, &addresses, &search, &mut interrupt, &mut on_step).await?;
    let mut encoded = serde_json::to_string_pretty(&report).context("encoding the report")?;
    encoded.push('\n');
    if let Some(file) = output {
        file.write(encoded.as_bytes())?;
    }
    output::print(&if json { encoded } else { render(&report) })?;
    Ok(exit(&report))
}

/// Returns the exit code: success if a rate was held, and if the target or a limit of the user ended the search.
fn exit(report: &CapacityReport) -> Exit {
    match report.end {
        SearchEnd::Interrupted => Exit::Interrupted,
        SearchEnd::Generator => Exit::Invalid,
        _ if report.rate.is_none() => Exit::ThresholdBroken,
        _ => Exit::Ok,
    }
}

fn describe(step: &CapacityStep) -> String {
    let word = match step.outcome {
        StepOutcome::Held => "held",
        StepOutcome::Missed => "missed",
        StepOutcome::Invalid => "invalid",
    };
    let p99 = step.latency_ms.p99.map_or("-".to_owned(), short);
    let reasons = if step.reasons.is_empty() {
        String::new()
    } else {
        format!("; {}", step.reasons.join("; "))
    };
    format!(
        "{:>7} requests/s {word:<7} p99 {p99} ms, {} failed{reasons}",
        step.rate, step.requests.failed
    )
}

fn render(report: &CapacityReport) -> String {
    let rate = report
        .rate
        .map_or("no rate held".to_owned(), |rate| format!("{rate} requests/s"));
    let missed = report.missed_rate.unwrap_or_default();
    let end = match report.end {
        SearchEnd::Found => format!("{missed} requests/s were missed twice in a row"),
        SearchEnd::Generator => format!(
            "the generator did not hold {missed} requests/s: the targets may hold more. Use more --threads, or another \
             machine"
        ),
        SearchEnd::HighestRate => {
            "the highest rate of the search (--up-to) was held: the targets may hold more".to_owned()
        }
        SearchEnd::LowestRate => "even the lowest rate was missed".to_owned(),
        SearchEnd::MaxSteps => "the search ended at --max-steps: the targets may hold more".to_owned(),
        SearchEnd::MaxTime => "the search ended at --max-time: the targets may hold more".to_owned(),
        SearchEnd::Interrupted => "a signal stopped the search: the targets may hold more".to_owned(),
    };
    let mut text = format!("CAPACITY: {rate}\n  {end}\n");
    for one in &report.targets {
        writeln!(text, "  target  {}", target(one)).expect("writing to a String does not fail");
    }
    for step in &report.steps {
        writeln!(text, "  {}", describe(step)).expect("writing to a String does not fail");
    }
    text
}
