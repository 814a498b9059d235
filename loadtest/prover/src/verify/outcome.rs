//! The outcome of one test.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::stage::Test;

/// Whether a test passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TestStatus {
    /// The condition of the test holds.
    Passed,
    /// The condition does not hold, or could not be observed before the deadline.
    Failed,
    /// The test did not run: the stage does not contain it, the user did not select it, or a signal came before it.
    Skipped,
}

/// A measured value.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The value.
    pub value: f64,
    /// The unit; empty for a count.
    pub unit: &'static str,
}

/// What a test found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Why the condition does not hold; `None` if it holds.
    pub failure: Option<String>,
    /// What was seen.
    pub seen: String,
    /// The measured values.
    pub figures: Vec<Figure>,
}

impl Judgement {
    /// Creates the judgement of a condition that holds.
    #[must_use]
    pub fn passed(seen: impl Into<String>) -> Self {
        Self {
            failure: None,
            seen: seen.into(),
            figures: Vec::new(),
        }
    }

    /// Creates the judgement of a condition that does not hold.
    #[must_use]
    pub fn failed(reason: impl Into<String>, seen: impl Into<String>) -> Self {
        Self {
            failure: Some(reason.into()),
            ..Self::passed(seen)
        }
    }

    /// Adds a measured value.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        self.figures.push(Figure {
            name: name.into(),
            value,
            unit,
        });
        self
    }
}

/// The outcome of one test.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Outcome {
    /// The name of the test.
    pub name: Test,
    /// The condition that the test checks.
    pub checks: &'static str,
    /// The time after which the test fails, in seconds.
    pub deadline_seconds: f64,
    /// Whether the test passed.
    pub status: TestStatus,
    /// Why the test failed, or did not run; null if it passed.
    pub reason: Option<String>,
    /// What the test saw; empty if it did not run.
    pub seen: String,
    /// How long the test took, in seconds. Tests that judge the same proof of scaling have the same duration.
    pub duration_seconds: f64,
    /// The measured values.
    pub figures: Vec<Figure>,
}

impl Outcome {
    /// Creates the outcome of a test that ran.
    #[must_use]
    pub fn of(test: Test, deadline: Duration, took: Duration, judgement: Judgement) -> Self {
        let Judgement {
            failure,
            seen,
            figures,
        } = judgement;
        Self {
            name: test,
            checks: test.checks(),
            deadline_seconds: deadline.as_secs_f64(),
            status: if failure.is_none() {
                TestStatus::Passed
            } else {
                TestStatus::Failed
            },
            reason: failure,
            seen,
            duration_seconds: took.as_secs_f64(),
            figures,
        }
    }

    /// Returns whether the test failed.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        self.status == TestStatus::Failed
    }

    /// Creates the outcome of a test that did not run.
    #[must_use]
    pub fn skipped(test: Test, deadline: Duration, reason: impl Into<String>) -> Self {
        Self {
            status: TestStatus::Skipped,
            ..Self::of(
                test,
                deadline,
                Duration::ZERO,
                Judgement::failed(reason, String::new()),
            )
        }
    }
}
