//! What one of several processes that send a load together measured, and how it travels: one line of JSON.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{arrivals::Stripe, plan::Plan, record::Recorder, report::PlanReport, target::Target};
use crate::units::short;

/// The version of [`StripeResult`]'s JSON form.
const SCHEMA: &str = "loadtest.stripe/v1";

/// How a stripe's result begins in JSON: what tells it from other lines.
const LINE_PREFIX: &str = r#"{"schema":"loadtest.stripe/"#;

/// What the stripes of one load have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedLoad {
    /// The version of this program.
    pub version: String,
    /// When the first request of all is due.
    pub start_at: Timestamp,
    /// How many stripes there are.
    pub stripes: u64,
    /// What all of them together were asked for.
    pub plan: PlanReport,
    /// What is requested.
    pub targets: Vec<Target>,
}

impl SharedLoad {
    /// Of `stripes` that carry out `plan` from `start_at` on.
    #[must_use]
    pub fn new(plan: &Plan, stripes: u64, start_at: Timestamp) -> Self {
        let all = usize::try_from(stripes).unwrap_or(usize::MAX);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_at,
            stripes,
            plan: PlanReport::new(plan, plan.thread_count().saturating_mul(all)),
            targets: plan.mix.targets().to_vec(),
        }
    }

    /// As another process reads it: numbers can lose their last bit on the way through JSON.
    ///
    /// # Errors
    /// Does not happen: what was written is read again.
    pub fn as_read(&self) -> serde_json::Result<Self> {
        serde_json::from_str(&serde_json::to_string(self)?)
    }

    /// Why the other is not this load.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self == other {
            None
        } else if self.version != other.version {
            Some(format!(
                "it is of version {}, not {}",
                other.version, self.version
            ))
        } else if self.start_at != other.start_at {
            Some(format!("its start was {}, not {}", other.start_at, self.start_at))
        } else {
            Some("it carried out another plan".to_owned())
        }
    }
}

/// How much a pod's clock may be off that of the API server, which tells whole seconds.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(5);

/// What one stripe measured, complete: results of all stripes give the same report as one process would.
#[derive(Debug, Serialize, Deserialize)]
pub struct StripeResult {
    schema: String,
    /// Its number, from 0 on.
    pub stripe: u64,
    /// What it took part in.
    pub load: SharedLoad,
    /// How long after the start it came up, in seconds. It has sent nothing then: that would have moved the load.
    late_seconds: Option<f64>,
    /// When it was stopped, in seconds since the start, where that was before its end.
    stopped_after_seconds: Option<f64>,
    /// Of each of its threads.
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
            recorders,
        }
    }

    /// Of a stripe that came up so late that it sent nothing.
    #[must_use]
    pub fn late(stripe: Stripe, load: SharedLoad, by: Duration) -> Self {
        Self {
            late_seconds: Some(by.as_secs_f64()),
            ..Self::new(stripe, load, None, Vec::new())
        }
    }

    /// Of a stripe that was stopped before the start.
    #[must_use]
    pub fn not_started(stripe: Stripe, load: SharedLoad) -> Self {
        Self::new(stripe, load, Some(Duration::ZERO), Vec::new())
    }

    /// The result among the lines of `text`; `None` where there is none.
    ///
    /// # Errors
    /// When it is cut off, of another version of the form, or contradicts itself.
    #[must_use]
    pub fn find(text: &str) -> Option<Result<Self, String>> {
        let line = text.lines().find(|line| line.starts_with(LINE_PREFIX))?;
        Some(Self::read(line))
    }

    fn read(line: &str) -> Result<Self, String> {
        if !line.starts_with(&format!(r#"{{"schema":"{SCHEMA}""#)) {
            let form: String = line.chars().skip(11).take_while(|it| *it != '"').collect();
            return Err(format!("its result is in the form {form}, not {SCHEMA}"));
        }
        let result: Self = serde_json::from_str(line).map_err(|error| {
            if error.is_eof() {
                format!("its result is cut off after {} bytes", line.len())
            } else {
                format!("its result cannot be read: {error}")
            }
        })?;
        let targets = result.load.targets.len();
        let is_whole = result.stripe < result.load.stripes
            && result
                .recorders
                .iter()
                .all(|recorder| recorder.targets.len() == targets);
        is_whole
            .then_some(result)
            .ok_or_else(|| "its result contradicts itself".to_owned())
    }

    /// How long it sent requests: until it was stopped, or to the end of the schedule. `None` where it was late, and sent
    /// nothing.
    pub(super) fn length(&self) -> Option<Duration> {
        if self.late_seconds.is_some() {
            return None;
        }
        let planned = self.load.plan.duration_seconds;
        let length = self
            .stopped_after_seconds
            .map_or(planned, |after| after.min(planned));
        Duration::try_from_secs_f64(length).ok()
    }

    /// Why the load is not what it was to be, as far as this stripe goes. That it was stopped is no problem where the user
    /// stopped all of them, so long after the start.
    #[must_use]
    pub fn problem(&self, all_stopped_after: Option<Duration>) -> Option<String> {
        let by_the_user = |after: f64| {
            all_stopped_after.is_some_and(|all| after + MAX_CLOCK_SKEW.as_secs_f64() >= all.as_secs_f64())
        };
        let late = self.late_seconds.map(|seconds| {
            format!(
                "it came up {} s after the start, and sent nothing",
                short(seconds)
            )
        });
        let stopped = self
            .stopped_after_seconds
            .filter(|after| !by_the_user(*after))
            .map(|seconds| format!("it was stopped after {} s", short(seconds)));
        late.or(stopped)
    }
}
