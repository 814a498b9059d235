//! The findings of a check.

use crate::objects::title;
use serde_json::Value;
use std::fmt;

/// A fault of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind, namespace and name.
    pub object: String,
    /// The fault, and the expected state.
    pub problem: String,
}

impl Finding {
    /// Creates a finding for an object.
    #[must_use]
    pub fn new(object: &Value, problem: impl Into<String>) -> Self {
        Self {
            object: title(object),
            problem: problem.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.object, self.problem)
    }
}

/// Formats the findings, one on each line. Returns the empty string if there are none.
#[must_use]
pub fn list<T: fmt::Display>(findings: &[T]) -> String {
    findings
        .iter()
        .flat_map(|finding| ["\n  ".to_owned(), finding.to_string()])
        .collect()
}
