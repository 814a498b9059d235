//! One assertion about a run, and its verdict.

use engine::{LoadReport, Threshold};
use schemars::JsonSchema;
use serde::Serialize;

use super::plan::Expected;

/// The verdict on one assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionVerdict {
    /// The assertion holds.
    Passed,
    /// The assertion does not hold.
    Failed,
    /// The run did not reach the phase of the assertion.
    NotReached,
}

/// One assertion about a run, with its verdict and the observation behind it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Assertion {
    /// The stable name of the assertion.
    pub name: &'static str,
    /// The HPA; null if the assertion is not about one HPA.
    pub hpa: Option<String>,
    /// Whether the assertion holds.
    #[serde(rename = "standing")]
    pub verdict: AssertionVerdict,
    /// The expectation, as text.
    pub expected: String,
    /// The observation, as text.
    pub observed: String,
}

/// An assertion before its verdict.
pub(super) struct PendingAssertion {
    pub(super) name: &'static str,
    pub(super) hpa: Option<String>,
    pub(super) expected: String,
}

impl PendingAssertion {
    pub(super) fn new(name: &'static str, hpa: Option<&Expected>, expected: impl Into<String>) -> Self {
        Self {
            name,
            hpa: hpa.map(|hpa| hpa.hpa.clone()),
            expected: expected.into(),
        }
    }

    pub(super) fn judge(self, verdict: AssertionVerdict, observed: impl Into<String>) -> Assertion {
        let Self { name, hpa, expected } = self;
        Assertion {
            name,
            hpa,
            verdict,
            expected,
            observed: observed.into(),
        }
    }

    pub(super) fn passed_if(self, holds: bool, observed: impl Into<String>) -> Assertion {
        let verdict = if holds {
            AssertionVerdict::Passed
        } else {
            AssertionVerdict::Failed
        };
        self.judge(verdict, observed)
    }

    pub(super) fn not_reached(self) -> Assertion {
        self.judge(AssertionVerdict::NotReached, "the run did not reach this phase")
    }
}

/// The name of the assertion for each threshold of the user.
pub(super) const THRESHOLD: &str = "threshold";

/// Checks the step against one threshold of the user.
pub(super) fn threshold(threshold: &Threshold, step: Option<&LoadReport>) -> Assertion {
    let pending = PendingAssertion::new(THRESHOLD, None, threshold.to_string());
    match step.map(|step| threshold.check(step)) {
        None => pending.not_reached(),
        Some(checked) => pending.passed_if(checked.holds, checked.observed_text()),
    }
}
