//! The checks of an external metric: its API serves it, and the value is plausible.

use engine::units::short;
use jiff::Timestamp;
use wiring::Link;

use super::{
    evidence::{ChainOptions, ExternalEvidence},
    finding::{
        Finding::{self, BlockedBy, Works},
        MAX_AGE_SECONDS, broken, works,
    },
};

/// Checks that the API serves the metric for its selector.
pub(super) fn check_metric(external: &ExternalEvidence, options: &ChainOptions) -> Finding {
    if external.api.is_err() {
        return BlockedBy(Link::Apiservice);
    }
    let metric = &external.metric;
    let selector = metric.selector.as_deref().unwrap_or("any labels");
    let look_at = format!(
        "the program that serves external metrics, its configuration and logs (KEDA: kubectl -n {} get scaledobjects)",
        options.namespace
    );
    match &external.values {
        Ok(values) if values.is_empty() => {
            broken(format!("{} has no value for {selector}", metric.name), look_at)
        }
        Ok(_) => works(format!("the API serves {} for {selector}", metric.name)),
        Err(error) => broken(
            format!("{} cannot be read for {selector}: {error}", metric.name),
            look_at,
        ),
    }
}

/// Checks that the value is fresh, and whether the HPA can scale on it.
pub(super) fn check_value(external: &ExternalEvidence, now: Timestamp) -> Finding {
    let values = match &external.values {
        Ok(values) if !values.is_empty() => values,
        _ => return BlockedBy(Link::AdapterRule),
    };
    let name = &external.metric.name;
    let ages = values.iter().filter_map(|value| value.at);
    let oldest = ages
        .map(|at| now.duration_since(at).as_secs_f64())
        .fold(0.0, f64::max);
    if oldest > MAX_AGE_SECONDS {
        return broken(
            format!("the value of {name} is {oldest:.0} s old"),
            "the source of the metric, and the program that serves it",
        );
    }
    let sum: f64 = values.iter().map(|value| value.value).sum();
    let detail = format!(
        "{name} is {}; the target is {}; not checked: single pods, for which an external metric has no values",
        short(sum),
        external.metric.describe_target()
    );
    let warnings = if sum < 0.0 {
        vec![format!("{name} is negative, so the HPA scales to its minimum")]
    } else {
        Vec::new()
    };
    Works(detail, warnings)
}
