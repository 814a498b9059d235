//! The report of `loadtest scale` as text.

use prover::prove::{AssertionVerdict, ScaleReport, ScaleRun, TimeToScale};

use super::nodes_text;

/// Returns the verdict, the assertions and the time to scale, one per line.
#[must_use]
pub fn summary(report: &ScaleReport) -> String {
    let mut lines = Vec::new();
    if let [run] = &report.runs[..] {
        lines.extend(run_lines(run));
    } else {
        for (run, number) in report.runs.iter().zip(1..) {
            lines.push(format!("run {number}"));
            lines.extend(run_lines(run));
        }
        lines.push(format!(
            "{} ({} runs)",
            report.verdict.headline(),
            report.runs.len()
        ));
    }
    lines.extend(time_to_scale(report));
    report
        .runs
        .iter()
        .for_each(|run| nodes_text::append(run, &mut lines));
    lines.join("\n") + "\n"
}

/// Returns the verdict and the assertions of one run.
fn run_lines(run: &ScaleRun) -> impl Iterator<Item = String> {
    let headline = run.verdict.headline().to_owned();
    let lines = run.assertions.iter().map(|assertion| {
        let mark = match assertion.verdict {
            AssertionVerdict::Passed => "ok     ",
            AssertionVerdict::Failed => "FAILED ",
            AssertionVerdict::NotReached => "-      ",
        };
        let hpa = assertion
            .hpa
            .as_deref()
            .map(|hpa| format!(" {hpa}"))
            .unwrap_or_default();
        format!(
            "  {mark}{}{hpa}: {}: {}",
            assertion.name, assertion.expected, assertion.observed
        )
    });
    [headline].into_iter().chain(lines)
}

/// Returns the time of each scaling stage, for the pod of each HPA that became ready last.
fn time_to_scale(report: &ScaleReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let [run] = &report.runs[..] {
        run.time_to_scale
            .iter()
            .for_each(|time| single_run(time, &mut lines));
    } else {
        multiple_runs(report, &mut lines);
    }
    let times = report.runs.iter().flat_map(|run| &run.time_to_scale);
    for time in times {
        for (source, problem) in &time.problems {
            lines.push(format!("  not seen, {}: {source}: {problem}", time.hpa));
        }
    }
    lines
}

fn single_run(time: &TimeToScale, lines: &mut Vec<String>) {
    let Some(path) = time.last() else { return };
    lines.push(format!(
        "time to scale, {}: pod {}, {}",
        time.hpa,
        path.pod,
        path.describe_rank(time.pods.len())
    ));
    lines.push(format!("  {:<10}{:>16}{:>16}", "stage", "at", "took"));
    for time in &path.stages {
        let [at, took] = time.cells();
        lines.push(format!(
            "  {:<10}{at:>16}{took:>16}   {}",
            time.stage.name(),
            time.stage.meaning()
        ));
    }
}

/// Describes when the load of each run began, relative to the idle cluster and to a sync of the HPA.
fn starts(report: &ScaleReport) -> impl Iterator<Item = String> {
    report.runs.iter().zip(1..).map(|(run, number)| {
        let wait = run.start_wait_seconds;
        let syncs = run.time_to_scale.iter().map(|time| match time.since_sync {
            Some(since) => format!(
                "{:.1} ±{:.1} s after a sync of {}",
                since.seconds, since.error, time.hpa
            ),
            None => format!("no sync of {} seen", time.hpa),
        });
        let parts = [format!("run {number}: {wait:.1} s after the cluster was idle")];
        format!(
            "  {}",
            parts.into_iter().chain(syncs).collect::<Vec<_>>().join(", ")
        )
    })
}

fn multiple_runs(report: &ScaleReport, lines: &mut Vec<String>) {
    lines.push(format!("start of the load (--seed {})", report.config.seed));
    lines.extend(starts(report));
    for expected in report.expected() {
        lines.push(format!(
            "time to scale, {}: the pod that became ready last, median and worst of {} runs, in seconds",
            expected.hpa,
            report.runs.len()
        ));
        lines.push(format!(
            "  {:<10}{:>12}{:>8}{:>14}{:>8}{:>8}{:>6}",
            "stage", "at: median", "worst", "took: median", "worst", "error", "runs"
        ));
        let spreads = report.time_to_scale.iter();
        for spread in spreads.filter(|spread| spread.hpa == expected.hpa) {
            let [at, at_worst, took, took_worst, error, runs] = spread.cells();
            lines.push(format!(
                "  {:<10}{at:>12}{at_worst:>8}{took:>14}{took_worst:>8}{error:>8}{runs:>6}   {}",
                spread.stage.name(),
                spread.stage.meaning()
            ));
        }
    }
}
