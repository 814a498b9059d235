//! The warm-up: the requests before the measured part of a load. All other numbers of the report exclude them.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{counts::Counts, failure::FailureKind, record::Recorder};

/// The requests of the warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WarmUp {
    /// The length of the warm-up, in seconds; shorter than planned if the load was stopped.
    pub seconds: f64,
    /// The counts of its requests.
    pub requests: Counts,
    /// Its failures by kind. Kinds without a failure are absent.
    #[schemars(extend("propertyNames" = {"enum": FailureKind::ALL}))]
    pub failures: BTreeMap<FailureKind, u64>,
    /// The text of the first failure of each kind.
    #[schemars(extend("propertyNames" = {"enum": FailureKind::ALL}))]
    pub failure_examples: BTreeMap<FailureKind, String>,
}

impl WarmUp {
    /// Returns what `recorder` measured in a warm-up of this length.
    pub(crate) fn new(length: Duration, recorder: &Recorder) -> Self {
        Self {
            seconds: length.as_secs_f64(),
            requests: recorder.counts,
            failures: recorder.failures.clone(),
            failure_examples: recorder.examples.clone(),
        }
    }

    /// Adds the requests of another thread or stripe.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.seconds = self.seconds.max(other.seconds);
        self.requests.merge(&other.requests);
        for (kind, count) in &other.failures {
            *self.failures.entry(*kind).or_default() += count;
        }
        for (kind, example) in &other.failure_examples {
            self.failure_examples
                .entry(*kind)
                .or_insert_with(|| example.clone());
        }
    }
}
