//! The result of one run or of several, as it is written to JSON and to the page.

use std::collections::BTreeMap;

use engine::{Bounds, LoadReport, Threshold};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    assertion::{Assertion, AssertionVerdict, THRESHOLD},
    breakdown::TimeToScale,
    drive::Recording,
    plan::Expected,
    shares::PodShare,
    spread::{StageSpread, spread},
    timeline::Timeline,
    verdict::{Measurements, assess},
};
use crate::chain::Diagnosis;

/// The version of the JSON form. Grows when a field changes its meaning or goes, not when one joins.
const SCHEMA: &str = "loadtest.scale/v2";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScaleVerdict {
    /// Everything holds.
    Passed,
    /// The scaling is not as it should be.
    Failed,
    /// The scaling is as it should be, but too many requests failed.
    RequestsFailed,
    /// The scaling is as it should be, but the requests are not as a threshold wants them.
    ThresholdBroken,
    /// The generator did not hold the rate.
    Invalid,
    /// Stopped by a signal.
    Interrupted,
}

impl ScaleVerdict {
    /// In a word or two.
    #[must_use]
    pub fn headline(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::RequestsFailed => "FAILED: requests failed",
            Self::ThresholdBroken => "FAILED: a threshold is broken",
            Self::Invalid => "INVALID: this machine could not hold the rate",
            Self::Interrupted => "INTERRUPTED",
        }
    }

    fn of<'a>(assertions: impl IntoIterator<Item = &'a Assertion>, interrupted: bool) -> Self {
        let assertions: Vec<_> = assertions.into_iter().collect();
        let failed = |names: &[&str]| {
            assertions
                .iter()
                .any(|one| names.contains(&one.name) && one.verdict == AssertionVerdict::Failed)
        };
        let (valid, requests) = (["step-valid", "tail-valid"], ["step-requests", "tail-requests"]);
        let apart = [&valid[..], &requests, &[THRESHOLD]].concat();
        let mut others = assertions.iter().filter(|one| !apart.contains(&one.name));
        if interrupted {
            Self::Interrupted
        } else if failed(&valid) {
            Self::Invalid
        } else if others.any(|one| one.verdict != AssertionVerdict::Passed) {
            Self::Failed
        } else if failed(&requests) {
            Self::RequestsFailed
        } else if failed(&[THRESHOLD]) {
            Self::ThresholdBroken
        } else {
            Self::Passed
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScaleConfig {
    /// The namespace of the HPAs.
    pub namespace: String,
    /// The kubeconfig's context; its current one where empty.
    pub context: Option<String>,
    /// What was requested, as in `GET http://host/hello`.
    pub targets: Vec<String>,
    /// Requests a second of the step.
    pub rate: f64,
    /// Requests a second on the way down.
    pub tail_rate: f64,
}

/// Everything about one run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScaleRun {
    /// When the load began.
    pub began_at: Option<Timestamp>,
    /// How it ended.
    pub verdict: ScaleVerdict,
    /// Everything that must hold.
    pub assertions: Vec<Assertion>,
    /// The metrics chains before the load.
    pub chains: Vec<Diagnosis>,
    /// What happened.
    #[serde(flatten)]
    pub timeline: Timeline,
    /// Where the time until the new pods went, by HPA.
    pub time_to_scale: Vec<TimeToScale>,
    /// Which pod served how much of the step.
    pub pods: Vec<PodShare>,
    /// The step's requests.
    pub step: Option<LoadReport>,
    /// The requests on the way down.
    pub tail: Option<LoadReport>,
}

impl ScaleRun {
    /// Judges a recording.
    #[must_use]
    pub fn of(
        chains: Vec<Diagnosis>,
        recording: Recording,
        bounds: Bounds,
        thresholds: &[Threshold],
    ) -> Self {
        let Recording {
            timeline,
            step,
            tail,
            traces,
            shares,
            began_at,
            interrupted,
        } = recording;
        let measured = Measurements {
            chains: &chains,
            step: step.as_ref(),
            tail: tail.as_ref(),
            bounds,
            thresholds,
        };
        let assertions = assess(&timeline, &measured);
        let nobody = BTreeMap::new();
        let served = step.as_ref().map_or(&nobody, |step| &step.first_served_seconds);
        let time_to_scale = timeline
            .expected
            .iter()
            .filter_map(|one| Some(TimeToScale::of(one, traces.get(&one.hpa)?, served)))
            .collect();
        Self {
            began_at,
            verdict: ScaleVerdict::of(&assertions, interrupted),
            assertions,
            chains,
            time_to_scale,
            pods: step.as_ref().map(|step| shares.of(step)).unwrap_or_default(),
            timeline,
            step,
            tail,
        }
    }
}

/// Everything about one command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScaleReport {
    /// The version of this form.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// What was asked for.
    pub config: ScaleConfig,
    /// How it ended: the worst that any run came to.
    pub verdict: ScaleVerdict,
    /// Where the time went on the way to the pod that was ready last, over all runs.
    pub time_to_scale: Vec<StageSpread>,
    /// The runs, in order.
    pub runs: Vec<ScaleRun>,
}

impl ScaleReport {
    /// Puts runs together.
    #[must_use]
    pub fn of(config: ScaleConfig, runs: Vec<ScaleRun>) -> Self {
        let times: Vec<_> = runs.iter().map(|run| &run.time_to_scale[..]).collect();
        let assertions = runs.iter().flat_map(|run| &run.assertions);
        let interrupted = runs.iter().any(|run| run.verdict == ScaleVerdict::Interrupted);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            config,
            verdict: ScaleVerdict::of(assertions, interrupted),
            time_to_scale: spread(&times),
            runs,
        }
    }

    /// What the HPAs had to do, the same in every run.
    #[must_use]
    pub fn expected(&self) -> &[Expected] {
        self.runs.first().map_or(&[], |run| &run.timeline.expected)
    }
}
