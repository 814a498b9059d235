//! One thing that must hold of a run, and what became of it.

use engine::{LoadReport, Threshold};
use schemars::JsonSchema;
use serde::Serialize;

use super::plan::Expected;

/// What became of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AssertionVerdict {
    /// It holds.
    Passed,
    /// It does not.
    Failed,
    /// The run did not get there.
    NotReached,
}

/// One thing that must hold, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Assertion {
    /// A stable name.
    pub name: &'static str,
    /// The HPA that it is about, where it is about one.
    pub hpa: Option<String>,
    /// Whether it holds.
    pub standing: AssertionVerdict,
    /// What must be.
    pub expected: String,
    /// What was.
    pub observed: String,
}

/// An assertion that waits for what was observed.
pub(super) struct Pending {
    pub(super) name: &'static str,
    pub(super) hpa: Option<String>,
    pub(super) expected: String,
}

impl Pending {
    pub(super) fn new(name: &'static str, hpa: Option<&Expected>, expected: impl Into<String>) -> Self {
        Self {
            name,
            hpa: hpa.map(|hpa| hpa.hpa.clone()),
            expected: expected.into(),
        }
    }

    pub(super) fn stands(self, standing: AssertionVerdict, observed: impl Into<String>) -> Assertion {
        let Self { name, hpa, expected } = self;
        Assertion {
            name,
            hpa,
            standing,
            expected,
            observed: observed.into(),
        }
    }

    pub(super) fn holds_if(self, holds: bool, observed: impl Into<String>) -> Assertion {
        self.stands(if holds { AssertionVerdict::Passed } else { AssertionVerdict::Failed }, observed)
    }

    pub(super) fn not_reached(self) -> Assertion {
        self.stands(AssertionVerdict::NotReached, "the run did not get there")
    }
}

/// What must be of the step's requests, in the user's words.
pub(super) const THRESHOLD: &str = "threshold";

/// Holds the step against one of the user's thresholds.
pub(super) fn threshold(threshold: &Threshold, step: Option<&LoadReport>) -> Assertion {
    let pending = Pending::new(THRESHOLD, None, threshold.to_string());
    match step.map(|step| threshold.check(step)) {
        None => pending.not_reached(),
        Some(checked) => pending.holds_if(checked.holds, checked.observed_text()),
    }
}
