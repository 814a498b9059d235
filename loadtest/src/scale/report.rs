//! The result of one run or of several, as it is written to JSON and to the page.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    assertion::{Assertion, Standing, THRESHOLD},
    breakdown::TimeToScale,
    drive::Recording,
    plan::Expected,
    shares::PodShare,
    spread::{StageSpread, spread},
    text,
    timeline::Timeline,
    verdict::{Measured, assess},
};
use crate::{
    chain::Diagnosis,
    exit::Exit,
    load::{Bounds, LoadReport, Threshold},
    suite::{self, Case, Suite},
    units::short,
};

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
    /// The exit code that says so.
    #[must_use]
    pub fn exit(self) -> Exit {
        match self {
            Self::Passed => Exit::Ok,
            Self::Failed => Exit::AssertionFailed,
            Self::RequestsFailed | Self::ThresholdBroken => Exit::ThresholdBroken,
            Self::Invalid => Exit::Invalid,
            Self::Interrupted => Exit::Interrupted,
        }
    }

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
                .any(|one| names.contains(&one.name) && one.standing == Standing::Failed)
        };
        let (valid, requests) = (["step-valid", "tail-valid"], ["step-requests", "tail-requests"]);
        let apart = [&valid[..], &requests, &[THRESHOLD]].concat();
        let mut others = assertions.iter().filter(|one| !apart.contains(&one.name));
        if interrupted {
            Self::Interrupted
        } else if failed(&valid) {
            Self::Invalid
        } else if others.any(|one| one.standing != Standing::Passed) {
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
        let measured = Measured {
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

    /// The verdict and every assertion, as lines.
    fn summary(&self) -> impl Iterator<Item = String> {
        let headline = self.verdict.headline().to_owned();
        let lines = self.assertions.iter().map(|one| {
            let mark = match one.standing {
                Standing::Passed => "ok     ",
                Standing::Failed => "FAILED ",
                Standing::NotReached => "-      ",
            };
            let hpa = one
                .hpa
                .as_deref()
                .map(|hpa| format!(" {hpa}"))
                .unwrap_or_default();
            format!("  {mark}{}{hpa}: {}: {}", one.name, one.expected, one.observed)
        });
        [headline].into_iter().chain(lines)
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

    /// The verdict, case by case.
    #[must_use]
    pub fn suite(&self) -> Suite {
        let several = self.runs.len() > 1;
        let numbered = self.runs.iter().zip(1..);
        let cases = numbered.flat_map(|(run, number)| {
            let run_name = if several {
                format!("run {number}: ")
            } else {
                String::new()
            };
            run.assertions.iter().map(move |one| Case {
                name: match &one.hpa {
                    Some(hpa) => format!("{run_name}{} {hpa}: {}", one.name, one.expected),
                    None => format!("{run_name}{}: {}", one.name, one.expected),
                },
                standing: match one.standing {
                    Standing::Passed => suite::Standing::Passed,
                    Standing::Failed => suite::Standing::Failed,
                    Standing::NotReached => suite::Standing::Skipped,
                },
                observed: one.observed.clone(),
            })
        });
        let steps = self.expected().iter().map(|one| {
            let text = format!(
                "{}: {} -> {} -> {} replicas at {} requests/s",
                one.hpa,
                one.min,
                one.replicas,
                one.min,
                short(one.rate)
            );
            ("step", text)
        });
        let times = self.time_to_scale.iter().filter_map(|one| {
            let took = one.took?;
            let text = format!(
                "{}: {} took {:.2} s, {:.2} s at worst",
                one.hpa,
                one.stage.name(),
                took.median,
                took.worst
            );
            Some(("time to scale", text))
        });
        let seconds = self.runs.iter().filter_map(|run| run.timeline.samples.last());
        Suite {
            name: "loadtest scale",
            subject: self.config.targets.join(", "),
            headline: self.verdict.headline().to_owned(),
            began_at: self.runs.first().and_then(|run| run.began_at),
            seconds: seconds.map(|sample| sample.at).sum(),
            cases: cases.collect(),
            facts: steps.chain(times).collect(),
        }
    }

    /// What the HPAs had to do, the same in every run.
    #[must_use]
    pub fn expected(&self) -> &[Expected] {
        self.runs.first().map_or(&[], |run| &run.timeline.expected)
    }

    /// The verdict, every assertion, and where the time went, as lines.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut lines = Vec::new();
        if let [run] = &self.runs[..] {
            lines.extend(run.summary());
        } else {
            for (run, number) in self.runs.iter().zip(1..) {
                lines.push(format!("run {number}"));
                lines.extend(run.summary());
            }
            lines.push(format!("{} ({} runs)", self.verdict.headline(), self.runs.len()));
        }
        lines.extend(text::time_to_scale(self));
        lines.join("\n") + "\n"
    }
}
