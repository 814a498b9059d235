//! The result of a check of one link, and what several checks need.

use engine::units::short;
use wiring::Link;

use super::evidence::{Evidence, RECENT_SECONDS};
use crate::cluster::{Hpa, PodState};

/// The assumed scrape interval in seconds if Prometheus does not report it: the default of Prometheus.
const DEFAULT_SCRAPE_INTERVAL_SECONDS: f64 = 60.0;

/// The time in seconds that a scrape and its query may take.
const AGE_MARGIN_SECONDS: f64 = 10.0;

/// The maximum number of names that a message lists.
pub(super) const MAX_NAMES: usize = 8;

/// The result of a check: a working link with its warnings, a broken link with the place to look at, the broken link on
/// which the check depends, or the reason why the link is not checked.
pub(super) enum Finding {
    Works(String, Vec<String>),
    Broken(String, String),
    BlockedBy(Link),
    NotChecked(String),
}

pub(super) fn works(detail: impl Into<String>) -> Finding {
    Finding::Works(detail.into(), Vec::new())
}

pub(super) fn broken(detail: impl Into<String>, look_at: impl Into<String>) -> Finding {
    Finding::Broken(detail.into(), look_at.into())
}

pub(super) fn hpa_of(evidence: &Evidence) -> Option<&Hpa> {
    evidence.hpa.as_ref().ok()?.as_ref()
}

pub(super) fn only_ready(pods: &[PodState]) -> impl Iterator<Item = &PodState> {
    pods.iter().filter(|pod| pod.ready && !pod.terminating)
}

/// Returns the names of the ready pods.
pub(super) fn ready_pod_names(evidence: &Evidence) -> Result<Vec<&str>, Finding> {
    match &evidence.pods {
        Some(Ok(pods)) if only_ready(pods).next().is_some() => {
            Ok(only_ready(pods).map(|pod| pod.name.as_str()).collect())
        }
        _ => Err(Finding::BlockedBy(Link::Pods)),
    }
}

/// Returns the maximum age in seconds of a scrape or a value with a scrape interval in seconds: two intervals, so that one scrape
/// may fail.
pub(super) fn max_age_seconds(interval: Option<f64>) -> f64 {
    let interval = interval.unwrap_or(DEFAULT_SCRAPE_INTERVAL_SECONDS);
    (2.0 * interval + AGE_MARGIN_SECONDS).max(RECENT_SECONDS)
}

/// The maximum age in seconds of a value whose interval is not known.
pub(super) const MAX_AGE_SECONDS: f64 = 2.0 * DEFAULT_SCRAPE_INTERVAL_SECONDS + AGE_MARGIN_SECONDS;

/// Describes a scrape interval, as in `its scrape interval is 5 s`.
pub(super) fn describe_interval(interval: Option<f64>) -> String {
    match interval {
        Some(interval) => format!("its scrape interval is {} s", short(interval)),
        None => format!(
            "Prometheus does not report its scrape interval, {DEFAULT_SCRAPE_INTERVAL_SECONDS:.0} s is assumed"
        ),
    }
}

/// Lists the first [`MAX_NAMES`] names and the number of the others.
pub(super) fn list_names<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(MAX_NAMES).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(MAX_NAMES);
    match (shown.is_empty(), more) {
        (true, _) => "nothing".to_owned(),
        (false, 0) => shown.join(", "),
        (false, more) => format!("{} and {more} more", shown.join(", ")),
    }
}
