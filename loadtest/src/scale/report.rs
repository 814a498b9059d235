//! The result of a scale run, as it is written to JSON and to the page.

use jiff::Timestamp;
use serde::Serialize;

use super::{
    assertion::{Assertion, Standing},
    drive::Recording,
    timeline::Timeline,
    verdict::{Measured, assess},
};
use crate::{
    chain::Diagnosis,
    exit::Exit,
    load::{Bounds, LoadReport},
    suite::{self, Case, Suite},
    units::short,
};

/// The version of the JSON form. Grows when a field changes its meaning or goes, not when one joins.
const SCHEMA: &str = "loadtest.scale/v1";

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScaleVerdict {
    /// Everything holds.
    Passed,
    /// The scaling is not as it should be.
    Failed,
    /// The scaling is as it should be, but too many requests failed.
    RequestsFailed,
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
            Self::RequestsFailed => Exit::ThresholdBroken,
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
            Self::Invalid => "INVALID: this machine could not hold the rate",
            Self::Interrupted => "INTERRUPTED",
        }
    }

    fn of(assertions: &[Assertion], interrupted: bool) -> Self {
        let failed = |names: &[&str]| {
            assertions
                .iter()
                .any(|one| names.contains(&one.name) && one.standing == Standing::Failed)
        };
        let (valid, requests) = (["step-valid", "tail-valid"], ["step-requests", "tail-requests"]);
        let others = assertions
            .iter()
            .filter(|one| !valid.contains(&one.name) && !requests.contains(&one.name));
        if interrupted {
            Self::Interrupted
        } else if failed(&valid) {
            Self::Invalid
        } else if others.clone().any(|one| one.standing != Standing::Passed) {
            Self::Failed
        } else if failed(&requests) {
            Self::RequestsFailed
        } else {
            Self::Passed
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, Serialize)]
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
#[derive(Debug, Serialize)]
pub struct ScaleReport {
    /// `loadtest.scale/v1`.
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// When the load began.
    pub began_at: Option<Timestamp>,
    /// What was asked for.
    pub config: ScaleConfig,
    /// How it ended.
    pub verdict: ScaleVerdict,
    /// Everything that must hold.
    pub assertions: Vec<Assertion>,
    /// The metrics chains before the load.
    pub chains: Vec<Diagnosis>,
    /// What happened.
    #[serde(flatten)]
    pub timeline: Timeline,
    /// The step's requests.
    pub step: Option<LoadReport>,
    /// The requests on the way down.
    pub tail: Option<LoadReport>,
}

impl ScaleReport {
    /// Judges a recording.
    #[must_use]
    pub fn of(config: ScaleConfig, chains: Vec<Diagnosis>, recording: Recording, bounds: Bounds) -> Self {
        let Recording {
            timeline,
            step,
            tail,
            began_at,
            interrupted,
        } = recording;
        let measured = Measured {
            chains: &chains,
            step: step.as_ref(),
            tail: tail.as_ref(),
            bounds,
        };
        let assertions = assess(&timeline, &measured);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            began_at,
            config,
            verdict: ScaleVerdict::of(&assertions, interrupted),
            assertions,
            chains,
            timeline,
            step,
            tail,
        }
    }

    /// The verdict, case by case.
    #[must_use]
    pub fn suite(&self) -> Suite {
        let cases = self.assertions.iter().map(|one| Case {
            name: match &one.hpa {
                Some(hpa) => format!("{} {hpa}: {}", one.name, one.expected),
                None => format!("{}: {}", one.name, one.expected),
            },
            standing: match one.standing {
                Standing::Passed => suite::Standing::Passed,
                Standing::Failed => suite::Standing::Failed,
                Standing::NotReached => suite::Standing::Skipped,
            },
            observed: one.observed.clone(),
        });
        let steps = self.timeline.expected.iter().map(|one| {
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
        Suite {
            name: "loadtest scale",
            subject: self.config.targets.join(", "),
            headline: self.verdict.headline().to_owned(),
            began_at: self.began_at,
            seconds: self.timeline.samples.last().map_or(0.0, |sample| sample.at),
            cases: cases.collect(),
            facts: steps.collect(),
        }
    }

    /// The verdict and every assertion, as lines.
    #[must_use]
    pub fn summary(&self) -> String {
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
        let headline = self.verdict.headline().to_owned();
        [headline].into_iter().chain(lines).collect::<Vec<_>>().join("\n") + "\n"
    }
}
