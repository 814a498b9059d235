//! The report as text: the verdict first, then the numbers.

use std::fmt::Write as _;

use engine::{LoadReport, SlowRequest, StripeReport, Summary, Target, Verdict, WarmUp, units::short};

/// How many pods, stripes and slow requests the text lists. The JSON lists all of them.
const MAX_LISTED: usize = 20;

/// Returns the report.
pub(super) fn render(report: &LoadReport, verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut line = |label: &str, value: &str| {
        writeln!(text, "  {label:<12} {value}").expect("writing to a String does not fail");
    };
    if let [only] = &report.targets[..] {
        line("target", &target(&only.target));
    }
    for stripe_report in report.stripes.iter().take(MAX_LISTED) {
        line("stripe", &stripe(stripe_report));
    }
    if report.plan.insecure == Some(true) {
        line("TLS", "certificates NOT verified (--insecure)");
    }
    if let Some(warm) = &report.warm_up {
        line("warm-up", &warm_up(warm));
    }
    let requests = &report.requests;
    line(
        "requests",
        &format!(
            "{} due, {} sent, {} succeeded, {} failed ({} of them dropped), {} retried",
            requests.scheduled,
            requests.sent,
            requests.succeeded,
            requests.failed,
            requests.dropped,
            requests.retries
        ),
    );
    let rates = &report.rates;
    line(
        "rate",
        &format!(
            "{} requested, {} sent, {} succeeded (requests/s over {} s)",
            short(rates.requested),
            short(rates.achieved),
            short(rates.succeeded),
            short(report.duration_seconds)
        ),
    );
    line("latency", &summary(&report.latency_ms));
    for threshold in &verdict.thresholds {
        let word = if threshold.holds { "holds" } else { "BROKEN" };
        line("threshold", &format!("{word}: {}", threshold.describe()));
    }
    if requests.failed > 0 {
        line("  succeeded", &summary(&report.latency_succeeded_ms));
    }
    line("lag", &summary(&report.lag_ms));
    let connections = &report.connections;
    line(
        "connections",
        &format!(
            "{} opened, connect time: {}",
            connections.opened,
            summary(&connections.connect_ms)
        ),
    );
    if connections.wait_ms.p99 > connections.connect_ms.p99 {
        line(
            "",
            &format!(
                "time waited for a connection: {} (see --connections)",
                summary(&connections.wait_ms)
            ),
        );
    }
    for (kind, count) in report.failures.iter().filter(|(_, count)| **count > 0) {
        let example = report.failure_examples.get(kind).map_or("", String::as_str);
        line("failures", &format!("{count} {}: {example}", kind.name()));
    }
    line("status", &counts(report.statuses.iter()));
    if report.targets.len() > 1 {
        for target_report in &report.targets {
            let latency = &target_report.latency_ms;
            line(
                "target",
                &format!(
                    "{}: {} sent, {} failed, p50 {}, p99 {} ms",
                    target(&target_report.target),
                    target_report.counts.sent,
                    target_report.counts.failed,
                    number(latency.p50),
                    number(latency.p99)
                ),
            );
        }
    }
    if !report.served_by.is_empty() {
        line("served by", &served_by(report));
    }
    for (position, request) in report.slowest.iter().take(MAX_LISTED).enumerate() {
        line(if position == 0 { "slowest" } else { "" }, &slow_request(request));
    }
    format!("{}{text}", headline(verdict))
}

#[must_use]
fn headline(verdict: &Verdict) -> String {
    let mut text = format!("{}\n", verdict.outcome.headline());
    for reason in &verdict.reasons {
        writeln!(text, "  - {reason}").expect("writing to a String does not fail");
    }
    for warning in &verdict.warnings {
        writeln!(text, "  ! {warning}").expect("writing to a String does not fail");
    }
    text
}

fn stripe(stripe: &StripeReport) -> String {
    let StripeReport {
        stripe: index,
        name,
        counts,
        ..
    } = stripe;
    format!(
        "{index} {name}: {} sent, {} failed, lag p99 {} ms{}",
        counts.sent,
        counts.failed,
        number(stripe.lag_ms.p99),
        if stripe.problem.is_some() { ", LOST" } else { "" }
    )
}

fn served_by(report: &LoadReport) -> String {
    let listed = report.served_by.iter().take(MAX_LISTED);
    let more = report.served_by.len().saturating_sub(MAX_LISTED);
    let rest = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{rest}", counts(listed))
}

/// Returns the time, the result and the parts of the latency of one request.
fn slow_request(request: &SlowRequest) -> String {
    let status = request.status.map(|status| status.to_string());
    let failure = request.failure.map(|kind| kind.name().to_owned());
    let server = request.served_by.as_ref().map(|name| format!("from {name}"));
    let result: Vec<String> = [status, failure, server].into_iter().flatten().collect();
    let connect = request
        .connect_ms
        .map_or(String::new(), |connect| format!(" (connect {})", short(connect)));
    let parts = request.lag_ms + request.wait_ms + request.response_ms.unwrap_or(0.0);
    // The parts are whole microseconds.
    let counted = if request.latency_ms > parts + 0.01 {
        "; counts with the timeout"
    } else {
        ""
    };
    format!(
        "{} ms at {} s, {}: {}, {}; lag {} + wait {}{connect} + response {} ms{counted}",
        short(request.latency_ms),
        short(request.due_seconds),
        request.due_at.strftime("%H:%M:%S%.3fZ"),
        request.target,
        result.join(" "),
        short(request.lag_ms),
        short(request.wait_ms),
        number(request.response_ms)
    )
}

/// Returns the length and the requests of the warm-up.
pub(super) fn warm_up(warm_up: &WarmUp) -> String {
    let requests = &warm_up.requests;
    let mut text = format!(
        "{} s, {} sent, {} succeeded, {} failed; all other numbers exclude them",
        short(warm_up.seconds),
        requests.sent,
        requests.succeeded,
        requests.failed
    );
    for (kind, count) in &warm_up.failures {
        let example = warm_up.failure_examples.get(kind).map_or("", String::as_str);
        write!(text, "; {count} {}: {example}", kind.name()).expect("writing to a String does not fail");
    }
    text
}

pub(crate) fn target(target: &Target) -> String {
    format!("{} {}", target.method, target.url)
}

pub(super) fn summary(summary: &Summary) -> String {
    if summary.count == 0 {
        return "no measurement".to_owned();
    }
    format!(
        "mean {}  p50 {}  p90 {}  p95 {}  p99 {}  p99.9 {}  max {} ms",
        number(summary.mean),
        number(summary.p50),
        number(summary.p90),
        number(summary.p95),
        number(summary.p99),
        number(summary.p999),
        number(summary.max)
    )
}

fn number(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), short)
}

fn counts<'a, K: ToString + 'a>(counts: impl Iterator<Item = (&'a K, &'a u64)>) -> String {
    let listed: Vec<String> = counts
        .map(|(name, count)| format!("{} x {count}", name.to_string()))
        .collect();
    if listed.is_empty() {
        "no response".to_owned()
    } else {
        listed.join(", ")
    }
}
