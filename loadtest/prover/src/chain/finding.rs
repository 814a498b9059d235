//! The result of a check of one link, and what several checks need.

use wiring::Link;

use super::evidence::Evidence;
use crate::cluster::{Hpa, PodState};

/// The maximum age of a sample or a scrape, in seconds.
pub(super) const MAX_AGE_SECONDS: f64 = 30.0;

/// The maximum number of names that a message lists.
pub(super) const MAX_NAMES: usize = 8;

/// The result of a check: a working link, a broken link and where to look, or the link that the check depends on.
pub(super) enum Finding {
    Works(String),
    Broken(String, String),
    BlockedBy(Link),
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
