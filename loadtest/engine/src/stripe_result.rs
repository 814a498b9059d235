//! The measurements of one stripe of a load, as one line of JSON.
//!
//! Several processes send the load together, one stripe each. `loadtest merge` and `loadtest job` read their results.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    arrivals::Stripe, plan::Plan, record::Recorder, report::PlanReport, target::Target, warm_up::WarmUp,
};
use crate::units::short;

/// The version of [`StripeResult`]'s JSON form.
const SCHEMA: &str = "loadtest.stripe/v1";

/// The prefix of a line with a stripe's result.
const LINE_PREFIX: &str = r#"{"schema":"loadtest.stripe/"#;

/// The properties that all stripes of a load share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedLoad {
    /// The version of this program.
    pub version: String,
    /// When the first request of the load is due, of the warm-up if there is one.
    pub start_at: Timestamp,
    /// The number of stripes.
    pub stripes: u64,
    /// The plan of all stripes together.
    pub plan: PlanReport,
    /// The targets of the requests.
    pub targets: Vec<Target>,
}

impl SharedLoad {
    /// Describes a load of `stripes` stripes that run `plan` and start at `start_at`.
    #[must_use]
    pub fn new(plan: &Plan, stripes: u64, start_at: Timestamp) -> Self {
        let stripe_count = usize::try_from(stripes).unwrap_or(usize::MAX);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_at,
            stripes,
            plan: PlanReport::new(plan, plan.thread_count().saturating_mul(stripe_count)),
            targets: plan.mix.targets().to_vec(),
        }
    }

    /// Returns the load as another process reads it from JSON. JSON can change the last bit of a number.
    ///
    /// # Errors
    /// Never: the JSON of this type is always valid.
    pub fn as_read(&self) -> serde_json::Result<Self> {
        serde_json::from_str(&serde_json::to_string(self)?)
    }

    /// Returns the difference between `other` and this load; `None` if they are equal.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self == other {
            None
        } else if self.version != other.version {
            Some(format!("it ran version {}, not {}", other.version, self.version))
        } else if self.start_at != other.start_at {
            Some(format!("its start was {}, not {}", other.start_at, self.start_at))
        } else {
            Some("it ran another plan".to_owned())
        }
    }
}

/// The maximum clock difference between a pod and the API server, whose times are whole seconds.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The complete measurements of one stripe. The merged results of all stripes give the same report as one process.
#[derive(Debug, Serialize, Deserialize)]
pub struct StripeResult {
    schema: String,
    /// The number of the stripe, from 0.
    pub stripe: u64,
    /// The load that the stripe belongs to.
    pub load: SharedLoad,
    /// The delay of a stripe that became ready after the start, in seconds. A late stripe sends nothing: its requests
    /// would shift the load in time.
    late_seconds: Option<f64>,
    /// The time from the start until the stripe was stopped early, in seconds.
    stopped_after_seconds: Option<f64>,
    /// The warm-up of all threads.
    pub(super) warm_up: WarmUp,
    /// The measurements of each thread.
    pub(super) recorders: Vec<Recorder>,
}

impl StripeResult {
    pub(super) fn new(
        stripe: Stripe,
        load: SharedLoad,
        stopped_after: Option<Duration>,
        recorders: Vec<Recorder>,
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            stripe: stripe.first,
            load,
            late_seconds: None,
            stopped_after_seconds: stopped_after.map(|after| after.as_secs_f64()),
            warm_up: WarmUp::default(),
            recorders,
        }
    }

    /// Creates the result of a stripe that became ready `by` after the start and sent nothing.
    #[must_use]
    pub fn late(stripe: Stripe, load: SharedLoad, by: Duration) -> Self {
        Self {
            late_seconds: Some(by.as_secs_f64()),
            ..Self::new(stripe, load, None, Vec::new())
        }
    }

    /// Creates the result of a stripe that was stopped before the start.
    #[must_use]
    pub fn not_started(stripe: Stripe, load: SharedLoad) -> Self {
        Self::new(stripe, load, Some(Duration::ZERO), Vec::new())
    }

    /// Finds the result in the lines of `text`; `None` if no line is a result.
    ///
    /// # Errors
    /// When the result is cut off, has another schema version, or is inconsistent.
    #[must_use]
    pub fn find(text: &str) -> Option<Result<Self, String>> {
        let line = text.lines().find(|line| line.starts_with(LINE_PREFIX))?;
        Some(Self::read(line))
    }

    fn read(line: &str) -> Result<Self, String> {
        if !line.starts_with(&format!(r#"{{"schema":"{SCHEMA}""#)) {
            let schema: String = line
                .chars()
                .skip(11)
                .take_while(|character| *character != '"')
                .collect();
            return Err(format!("its result has the schema {schema}, not {SCHEMA}"));
        }
        let result: Self = serde_json::from_str(line).map_err(|error| {
            if error.is_eof() {
                format!("its result is cut off after {} bytes", line.len())
            } else {
                format!("its result cannot be read: {error}")
            }
        })?;
        let targets = result.load.targets.len();
        let is_consistent = result.stripe < result.load.stripes
            && result
                .recorders
                .iter()
                .all(|recorder| recorder.targets.len() == targets);
        is_consistent
            .then_some(result)
            .ok_or_else(|| "its result is inconsistent".to_owned())
    }

    /// Returns the length of the measured part: until the stripe was stopped, or until the end of the schedule.
    ///
    /// Returns `None` for a late stripe, which sent nothing.
    pub(super) fn length(&self) -> Option<Duration> {
        if self.late_seconds.is_some() {
            return None;
        }
        let stopped_after = self.stopped_after_seconds.map(Duration::try_from_secs_f64);
        let (_, measured) = self.load.plan.lengths(stopped_after.transpose().ok()?);
        Some(measured)
    }

    /// Returns the reason why this stripe did not send its part of the load; `None` if it did.
    ///
    /// `all_stopped_after` is the time from the start until the user stopped all stripes. A stripe that stopped at this
    /// time has no problem.
    #[must_use]
    pub fn problem(&self, all_stopped_after: Option<Duration>) -> Option<String> {
        let stopped_by_user = |after: f64| {
            all_stopped_after.is_some_and(|all| after + MAX_CLOCK_SKEW.as_secs_f64() >= all.as_secs_f64())
        };
        let late = self.late_seconds.map(|seconds| {
            format!(
                "it became ready {} s after the start and sent nothing",
                short(seconds)
            )
        });
        let stopped = self
            .stopped_after_seconds
            .filter(|after| !stopped_by_user(*after))
            .map(|seconds| format!("it was stopped after {} s", short(seconds)));
        late.or(stopped)
    }
}
