//! What a check has found.

use crate::objects::title;
use serde_json::Value;
use std::fmt;

/// One thing that is wrong, and the object in which to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Kind, namespace and name.
    pub object: String,
    /// What is wrong, and what was expected.
    pub problem: String,
}

impl Finding {
    /// A problem with an object.
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

/// All findings, a line each; empty when there are none.
#[must_use]
pub fn list<T: fmt::Display>(findings: &[T]) -> String {
    findings
        .iter()
        .flat_map(|finding| ["\n  ".to_owned(), finding.to_string()])
        .collect()
}
