//! Judges the requests of a load. Pure functions.

use engine::{Bounds, LoadReport, units::short};

use super::assertion::{Assertion, PendingAssertion};

/// Checks how many requests of a load failed.
pub(super) fn requests(name: &'static str, load: &LoadReport, bounds: &Bounds) -> Assertion {
    let counts = &load.requests;
    let pending = PendingAssertion::new(
        name,
        None,
        format!("at most {} of the requests fail", bounds.max_failed),
    );
    let kinds: Vec<String> = load
        .failures
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(kind, count)| {
            let example = load.failure_examples.get(kind).map_or("", String::as_str);
            format!("{count} {} ({example})", kind.name())
        })
        .collect();
    let which = if kinds.is_empty() {
        String::new()
    } else {
        format!(": {}", kinds.join(", "))
    };
    let text = format!(
        "{} sent, {} failed, {} dropped, {} retried{which}",
        counts.sent, counts.failed, counts.dropped, counts.retries
    );
    pending.passed_if(
        counts.sent > 0 && bounds.max_failed.allows(counts.failed, counts.scheduled),
        text,
    )
}

/// Checks whether the generator held the rate of a load.
pub(super) fn valid(name: &'static str, load: &LoadReport, bounds: &Bounds) -> Assertion {
    let pending = PendingAssertion::new(name, None, "the generator held the rate");
    let lag = load.lag_ms.p99.map_or("-".to_owned(), short);
    let reasons = load.invalid_reasons(bounds);
    if reasons.is_empty() {
        let text = format!(
            "{} of {} requests/s, lag p99 {lag} ms",
            short(load.rates.achieved),
            short(load.rates.requested)
        );
        return pending.passed_if(true, text);
    }
    pending.passed_if(false, reasons.join("; "))
}
