//! Where the time to new pods went, as lines for people.

use prover::prove::{AssertionVerdict, ScaleReport, ScaleRun, TimeToScale};

/// The verdict, every assertion, and where the time went, as lines.
#[must_use]
pub fn summary(report: &ScaleReport) -> String {
    let mut lines = Vec::new();
    if let [run] = &report.runs[..] {
        lines.extend(of_run(run));
    } else {
        for (run, number) in report.runs.iter().zip(1..) {
            lines.push(format!("run {number}"));
            lines.extend(of_run(run));
        }
        lines.push(format!(
            "{} ({} runs)",
            report.verdict.headline(),
            report.runs.len()
        ));
    }
    lines.extend(time_to_scale(report));
    lines.join("\n") + "\n"
}

/// The verdict and every assertion, as lines.
fn of_run(run: &ScaleRun) -> impl Iterator<Item = String> {
    let headline = run.verdict.headline().to_owned();
    let lines = run.assertions.iter().map(|one| {
        let mark = match one.verdict {
            AssertionVerdict::Passed => "ok     ",
            AssertionVerdict::Failed => "FAILED ",
            AssertionVerdict::NotReached => "-      ",
        };
        let hpa = one
            .hpa
            .as_deref()
            .map(|hpa| format!(" {hpa}"))
            .unwrap_or_default();
        format!("  {mark}{}{hpa}: {}: {}", one.name, one.expected, one.observed)
    });
    [headline].into_iter().chain(lines)
}

/// The stages on the way to the pod that was ready last, for each HPA.
fn time_to_scale(report: &ScaleReport) -> Vec<String> {
    let mut lines = Vec::new();
    if let [run] = &report.runs[..] {
        run.time_to_scale
            .iter()
            .for_each(|time| one_run(time, &mut lines));
    } else {
        several(report, &mut lines);
    }
    let times = report.runs.iter().flat_map(|run| &run.time_to_scale);
    for time in times {
        for (what, problem) in &time.problems {
            lines.push(format!("  not seen, {}: {what}: {problem}", time.hpa));
        }
    }
    lines
}

fn one_run(time: &TimeToScale, lines: &mut Vec<String>) {
    let Some(path) = time.last() else { return };
    lines.push(format!(
        "time to scale, {}: the way to {}, {}",
        time.hpa,
        path.pod,
        path.describe_rank(time.pods.len())
    ));
    lines.push(format!("  {:<10}{:>16}{:>16}", "stage", "at", "took"));
    for one in &path.stages {
        let [at, took] = one.cells();
        lines.push(format!(
            "  {:<10}{at:>16}{took:>16}   {}",
            one.stage.name(),
            one.stage.meaning()
        ));
    }
}

fn several(report: &ScaleReport, lines: &mut Vec<String>) {
    for hpa in report.expected() {
        lines.push(format!(
            "time to scale, {}: the way to the pod that was ready last, median and worst of {} runs, in seconds",
            hpa.hpa,
            report.runs.len()
        ));
        lines.push(format!(
            "  {:<10}{:>12}{:>8}{:>14}{:>8}{:>8}{:>6}",
            "stage", "at: median", "worst", "took: median", "worst", "off by", "runs"
        ));
        for one in report.time_to_scale.iter().filter(|one| one.hpa == hpa.hpa) {
            let [at, at_worst, took, took_worst, error, runs] = one.cells();
            lines.push(format!(
                "  {:<10}{at:>12}{at_worst:>8}{took:>14}{took_worst:>8}{error:>8}{runs:>6}   {}",
                one.stage.name(),
                one.stage.meaning()
            ));
        }
    }
}
