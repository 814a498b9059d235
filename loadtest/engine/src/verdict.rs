//! Whether the numbers of a load can be trusted, and whether they are good. Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    counts::Counts,
    failure::FailureKind,
    report::LoadReport,
    threshold::{Threshold, ThresholdReport},
};
use crate::units::{MaxFailed, short};

/// The share of the requested rate below which the generator did not hold it.
const MIN_SCHEDULE_HELD: f64 = 0.99;

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Valid, and within its bounds.
    Passed,
    /// Valid, and more requests failed than were allowed to.
    Failed,
    /// The generator did not hold the rate: the numbers say more about this machine than about the server.
    Invalid,
    /// Stopped by a signal; the numbers hold for the part that ran.
    Interrupted,
}

impl Outcome {
    /// In a word, loud where it has to be.
    #[must_use]
    pub fn headline(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::Invalid => "INVALID: do not use these numbers",
            Self::Interrupted => "INTERRUPTED",
        }
    }
}

/// The outcome and why.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    /// How the run ended.
    pub outcome: Outcome,
    /// What speaks against it, in words; empty for a passed run.
    pub reasons: Vec<String>,
    /// The thresholds, in the order given.
    pub thresholds: Vec<ThresholdReport>,
}

/// What a run must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The most that the 99th percentile of the generator's lag may be.
    pub max_lag: Duration,
    /// The most requests that may fail.
    pub max_failed: MaxFailed,
}

impl LoadReport {
    /// Whether the run is valid, within `bounds`, and within every threshold. Pure: depends on the report alone.
    #[must_use]
    pub fn judge(&self, bounds: &Bounds, thresholds: &[Threshold], interrupted: bool) -> Verdict {
        let invalid = self.invalid_reasons(bounds);
        let mut failed = self.failure_reasons(bounds);
        let thresholds: Vec<_> = thresholds.iter().map(|threshold| threshold.check(self)).collect();
        let broken = thresholds.iter().filter(|threshold| !threshold.holds);
        failed.extend(broken.map(|threshold| format!("threshold {}", threshold.describe())));
        let outcome = if interrupted {
            Outcome::Interrupted
        } else if !invalid.is_empty() {
            Outcome::Invalid
        } else if !failed.is_empty() {
            Outcome::Failed
        } else {
            Outcome::Passed
        };
        let interruption = interrupted.then(|| "stopped by a signal before its end".to_owned());
        Verdict {
            outcome,
            reasons: interruption.into_iter().chain(invalid).chain(failed).collect(),
            thresholds,
        }
    }

    /// Why these numbers cannot be trusted.
    #[must_use]
    pub fn invalid_reasons(&self, bounds: &Bounds) -> Vec<String> {
        let mut reasons = self.lost_stripes();
        let max_lag = bounds.max_lag.as_secs_f64() * 1000.0;
        if let Some(lag) = self.lag_ms.p99.filter(|lag| *lag > max_lag) {
            reasons.push(format!(
                "the generator sent late: its lag's p99 is {} ms, {} ms are allowed (--max-lag)",
                short(lag),
                short(max_lag)
            ));
        }
        // The last arrival may be as late as any other; only what goes beyond that means a rate that was not held.
        let allowance = (bounds.max_lag.as_secs_f64() / self.duration_seconds.max(f64::EPSILON)).min(1.0);
        if self.rates.schedule_held * (1.0 + allowance) < MIN_SCHEDULE_HELD {
            reasons.push(format!(
                "the generator held {} % of the requested {} requests/s",
                short(self.rates.schedule_held * 100.0),
                short(self.rates.requested)
            ));
        }
        let exhausted = self.failures.get(&FailureKind::Generator).copied().unwrap_or(0);
        if exhausted > 0 {
            let example = self
                .failure_examples
                .get(&FailureKind::Generator)
                .map_or("", String::as_str);
            reasons.push(format!(
                "this machine ran out of ports or file descriptors {exhausted} times ({example})"
            ));
        }
        reasons
    }

    /// What stripes did not do their part, and why.
    fn lost_stripes(&self) -> Vec<String> {
        let of = self.stripes.len();
        let lost = self.stripes.iter().filter_map(|stripe| {
            let problem = stripe.problem.as_ref()?;
            Some(format!(
                "stripe {} of {of} is lost ({}): {problem}",
                stripe.stripe, stripe.name
            ))
        });
        lost.collect()
    }

    /// Why too few requests succeeded.
    #[must_use]
    pub fn failure_reasons(&self, bounds: &Bounds) -> Vec<String> {
        let Counts {
            scheduled,
            sent,
            failed,
            dropped,
            ..
        } = self.requests;
        let mut reasons = Vec::new();
        if sent == 0 {
            reasons.push("no request was sent".to_owned());
        }
        if !bounds.max_failed.allows(failed, scheduled) {
            let kinds: Vec<String> = self
                .failures
                .iter()
                .filter(|(_, count)| **count > 0)
                .map(|(kind, count)| format!("{} {count}", kind.name()))
                .collect();
            reasons.push(format!(
                "{failed} of {scheduled} requests failed ({}), {} are allowed (--max-failed)",
                kinds.join(", "),
                bounds.max_failed
            ));
            if dropped > 0 {
                reasons.push(format!(
                    "{dropped} of them were never sent, because {} requests were in flight already (--max-in-flight); \
                     the latencies leave them out",
                    self.plan.max_in_flight
                ));
            }
        }
        reasons
    }
}
