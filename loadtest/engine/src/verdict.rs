//! The verdict on a load: whether its numbers are valid, and whether they are within the bounds. Pure.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::{
    counts::Counts,
    failure::FailureKind,
    report::{EarlyEnd, LoadReport},
    threshold::{Threshold, ThresholdReport},
};
use crate::units::{MaxFailed, short};

/// The minimum share of the schedule that the generator must hold.
const MIN_SCHEDULE_HELD: f64 = 0.99;

/// The outcome of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The run is valid and within its bounds.
    Passed,
    /// The run is valid, but too many requests failed or a threshold is broken.
    Failed,
    /// The generator did not send the load as planned: the numbers say more about this machine than about the server.
    Invalid,
    /// A signal stopped the run. The numbers are those of the part before the signal.
    Interrupted,
}

impl Outcome {
    /// Returns the outcome as a heading.
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

/// The outcome and its reasons.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Verdict {
    /// The outcome of the run.
    pub outcome: Outcome,
    /// The reasons why the run did not pass; empty for a passed run.
    pub reasons: Vec<String>,
    /// Facts that change the meaning of the numbers, such as dropped arrivals. They do not fail the run.
    pub warnings: Vec<String>,
    /// The thresholds, in the order given.
    pub thresholds: Vec<ThresholdReport>,
}

/// The bounds of a run.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The maximum 99th percentile of the lag of the generator.
    pub max_lag: Duration,
    /// The maximum number or share of failed requests.
    pub max_failed: MaxFailed,
}

impl LoadReport {
    /// Judges whether the run is valid, within `bounds` and within every threshold. Pure.
    #[must_use]
    pub fn judge(&self, bounds: &Bounds, thresholds: &[Threshold], interrupted: bool) -> Verdict {
        let invalid = self.invalid_reasons(bounds);
        let mut failed: Vec<String> = self.ended_early.iter().map(EarlyEnd::describe).collect();
        failed.extend(self.failure_reasons(bounds));
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
            warnings: self.warnings(),
            thresholds,
        }
    }

    /// Returns the facts that change the meaning of the numbers.
    fn warnings(&self) -> Vec<String> {
        let Counts {
            scheduled, dropped, ..
        } = self.requests;
        let is_dropped = dropped > 0;
        let warning = is_dropped.then(|| {
            format!(
                "{dropped} of {scheduled} arrivals were dropped: they were not sent, because {} requests were already in \
                 flight (--max-in-flight). Each counts in the latencies with at least the timeout of {} s",
                self.plan.max_in_flight,
                short(self.plan.timeout_seconds)
            )
        });
        warning.into_iter().collect()
    }

    /// Returns the bound that the measurements so far break, with its value; `None` if every bound holds.
    ///
    /// A bound without measurements is not broken. A threshold on the rate is checked only at the end.
    #[must_use]
    pub fn broken_so_far(&self, max_failed: MaxFailed, thresholds: &[Threshold]) -> Option<String> {
        let Counts {
            scheduled, failed, ..
        } = self.requests;
        if scheduled > 0 && !max_failed.allows(failed, scheduled) {
            return Some(format!(
                "{failed} of {scheduled} requests failed, the maximum is {max_failed} (--max-failed)"
            ));
        }
        let judged = thresholds.iter().filter(|threshold| threshold.is_judged_early());
        let mut reports = judged.map(|threshold| threshold.check(self));
        let broken = reports.find(|report| !report.holds && report.observed.is_some())?;
        Some(format!("threshold {}", broken.describe()))
    }

    /// Returns the reasons why the run is invalid; empty for a valid run.
    #[must_use]
    pub fn invalid_reasons(&self, bounds: &Bounds) -> Vec<String> {
        let mut reasons = self.lost_stripes();
        let max_lag = bounds.max_lag.as_secs_f64() * 1000.0;
        if let Some(lag) = self.lag_ms.p99.filter(|lag| *lag > max_lag) {
            reasons.push(format!(
                "the generator sent late: the p99 of its lag is {} ms, the maximum is {} ms (--max-lag)",
                short(lag),
                short(max_lag)
            ));
        }
        // The last arrival can be late by `max_lag` like any other. The rate is only missed if it is later than that.
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

    /// Returns the stripes that did not send their part of the load, with the reasons.
    fn lost_stripes(&self) -> Vec<String> {
        let count = self.stripes.len();
        let lost = self.stripes.iter().filter_map(|stripe| {
            let problem = stripe.problem.as_ref()?;
            Some(format!(
                "stripe {} of {count} is lost ({}): {problem}",
                stripe.stripe, stripe.name
            ))
        });
        lost.collect()
    }

    /// Returns the reasons why too few requests succeeded; empty if enough succeeded.
    #[must_use]
    pub fn failure_reasons(&self, bounds: &Bounds) -> Vec<String> {
        let Counts {
            scheduled,
            sent,
            failed,
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
                "{failed} of {scheduled} requests failed ({}), the maximum is {} (--max-failed)",
                kinds.join(", "),
                bounds.max_failed
            ));
        }
        reasons
    }
}
