//! The report of one or more runs, for JSON and the page.

use std::collections::BTreeMap;

use engine::{Bounds, LoadReport, Spacing, Threshold};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    assertion::{Assertion, AssertionVerdict, THRESHOLD},
    breakdown::TimeToScale,
    drive::Recording,
    nodes::{ServedByNode, served_by_node},
    plan::Expected,
    shares::PodShare,
    spread::{StageSpread, spread},
    timeline::Timeline,
    verdict::{Measurements, assess},
};
use wiring::diagnosis::Diagnosis;

/// The version of the JSON format. Increases when a field is removed or changes its meaning, not when a field is added.
const SCHEMA: &str = "loadtest.scale/v2";

/// The verdict on a run, from the best to the worst. The worst of several runs is the verdict on all of them: a run that
/// was invalid or interrupted proves nothing, so it does not excuse a failure of another run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScaleVerdict {
    /// Every assertion holds.
    Passed,
    /// A signal stopped the run.
    Interrupted,
    /// The generator did not hold the rate.
    Invalid,
    /// The scaling is correct, but a threshold on the requests is broken.
    ThresholdBroken,
    /// The scaling is correct, but too many requests failed.
    RequestsFailed,
    /// An assertion about the scaling does not hold, or the run did not reach it.
    Failed,
}

impl ScaleVerdict {
    /// Returns the headline of the report.
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

    fn of(assertions: &[Assertion], interrupted: bool) -> Self {
        let failed = |names: &[&str]| {
            assertions.iter().any(|assertion| {
                names.contains(&assertion.name) && assertion.verdict == AssertionVerdict::Failed
            })
        };
        let (valid, requests) = (["step-valid", "tail-valid"], ["step-requests", "tail-requests"]);
        let about_requests = [&valid[..], &requests, &[THRESHOLD]].concat();
        let mut others = assertions
            .iter()
            .filter(|assertion| !about_requests.contains(&assertion.name));
        if interrupted {
            Self::Interrupted
        } else if failed(&valid) {
            Self::Invalid
        } else if others.any(|assertion| assertion.verdict != AssertionVerdict::Passed) {
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

/// The configuration of the command.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ScaleConfig {
    /// The namespace of the HPAs.
    pub namespace: String,
    /// The context of the kubeconfig; null for the current one.
    pub context: Option<String>,
    /// The targets of the requests, for example `GET http://host/hello`.
    pub targets: Vec<String>,
    /// The rate of the step, in requests per second.
    pub rate: f64,
    /// The rate while scaling down, in requests per second.
    pub tail_rate: f64,
    /// The spacing of the arrivals.
    pub arrivals: Spacing,
    /// The seed of the random waits before the loads of several runs, and of random arrivals.
    pub seed: u64,
}

/// The report of one run.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScaleRun {
    /// The time at which the load began; null without load.
    pub began_at: Option<Timestamp>,
    /// The random time between the idle cluster and the start of the load, in seconds; 0 for a single run.
    pub start_wait_seconds: f64,
    /// The verdict.
    pub verdict: ScaleVerdict,
    /// The assertions, in the order of the run.
    pub assertions: Vec<Assertion>,
    /// The diagnoses of the metrics chains before the load.
    pub chains: Vec<Diagnosis>,
    /// The record of the run.
    #[serde(flatten)]
    pub timeline: Timeline,
    /// The breakdown of the time to scale, by HPA.
    pub time_to_scale: Vec<TimeToScale>,
    /// The share of each pod in the step.
    pub pods: Vec<PodShare>,
    /// Who served the requests, by zone and node; only with `--nodes`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub served: Vec<ServedByNode>,
    /// The report of the step; null if the step did not begin.
    pub step: Option<LoadReport>,
    /// The report of the tail, the light load while scaling down; null if the tail did not begin.
    pub tail: Option<LoadReport>,
}

impl ScaleRun {
    /// Judges a recording, and creates its report.
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
            start_wait,
            interrupted,
        } = recording;
        let pods = step.as_ref().map(|step| shares.of(step)).unwrap_or_default();
        let nodes = timeline.nodes.as_ref();
        let [of_step, of_tail] = [&step, &tail].map(|load| load.as_ref().map(|load| &load.served_by));
        let served = nodes.map(|nodes| served_by_node(nodes, &pods, of_step, of_tail));
        let served = served.unwrap_or_default();
        let measured = Measurements {
            chains: &chains,
            step: step.as_ref(),
            tail: tail.as_ref(),
            bounds,
            thresholds,
            served: &served,
        };
        let assertions = assess(&timeline, &measured);
        let no_pods = BTreeMap::new();
        let first_served = step.as_ref().map_or(&no_pods, |step| &step.first_served_seconds);
        let time_to_scale = timeline
            .expected
            .iter()
            .filter_map(|expected| {
                let trace = traces.get(&expected.hpa)?;
                Some(TimeToScale::of(expected, trace, first_served, nodes))
            })
            .collect();
        Self {
            began_at,
            start_wait_seconds: start_wait.as_secs_f64(),
            verdict: ScaleVerdict::of(&assertions, interrupted),
            assertions,
            chains,
            time_to_scale,
            pods,
            served,
            timeline,
            step,
            tail,
        }
    }
}

/// The report of `loadtest scale`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ScaleReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The configuration of the command.
    pub config: ScaleConfig,
    /// The worst verdict of all runs.
    pub verdict: ScaleVerdict,
    /// The median and worst time of each stage over all runs, for the pod that became ready last.
    pub time_to_scale: Vec<StageSpread>,
    /// The runs, in order.
    pub runs: Vec<ScaleRun>,
}

impl ScaleReport {
    /// Combines the reports of all runs.
    #[must_use]
    pub fn of(config: ScaleConfig, runs: Vec<ScaleRun>) -> Self {
        let times: Vec<_> = runs.iter().map(|run| &run.time_to_scale[..]).collect();
        let worst = runs.iter().map(|run| run.verdict).max();
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            config,
            // No run proves nothing.
            verdict: worst.unwrap_or(ScaleVerdict::Failed),
            time_to_scale: spread(&times),
            runs,
        }
    }

    /// Returns the expected scaling of each HPA, which is the same in every run.
    #[must_use]
    pub fn expected(&self) -> &[Expected] {
        self.runs.first().map_or(&[], |run| &run.timeline.expected)
    }
}
