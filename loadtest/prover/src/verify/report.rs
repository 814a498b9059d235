//! The report of `loadtest verify`.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    outcome::{Outcome, TestStatus},
    stage::DeliveryStage,
    token::Token,
};

/// The version of the JSON format. Increases when a field is removed or changes its meaning, not when a field is added.
const SCHEMA: &str = "loadtest.verify/v1";

/// The verdict on a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum VerifyVerdict {
    /// Every test that ran passed, and at least one ran.
    Passed,
    /// A test failed.
    Failed,
    /// A signal stopped the command before its last test. No test had failed until then.
    Interrupted,
}

impl VerifyVerdict {
    /// Returns the headline of the report.
    #[must_use]
    pub fn headline(self) -> &'static str {
        match self {
            Self::Passed => "PASSED",
            Self::Failed => "FAILED",
            Self::Interrupted => "INTERRUPTED",
        }
    }
}

/// How the certificate of the server is verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// Against the authorities of this machine.
    System,
    /// Against the authorities of this file.
    File(String),
    /// Not at all: any certificate is accepted.
    None,
}

impl Verification {
    /// Describes the verification.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::System => "verified with the authorities of this machine".to_owned(),
            Self::File(path) => format!("verified with {path}"),
            Self::None => "NOT verified (--insecure)".to_owned(),
        }
    }
}

/// The configuration of the command.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VerifyConfig {
    /// The context of the kubeconfig; null for the current one.
    pub context: Option<String>,
    /// The contexts of the clusters in other regions.
    pub region_contexts: Vec<String>,
    /// The namespace of the pair.
    pub namespace: String,
    /// The canaries that are tested, each with its Deployment: `app-a=POD`. Then the tests are those of a canary.
    pub canaries: Vec<String>,
    /// The overlay that is applied.
    pub overlay: String,
    /// The URL of the pair over HTTP, without a path.
    pub http: String,
    /// The URL of the pair over HTTPS, without a path.
    pub https: String,
    /// How the certificate of the server is verified.
    pub certificates: Verification,
}

/// The report of `loadtest verify`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct VerifyReport {
    /// The version of this format.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: &'static str,
    /// The version of this program.
    pub version: &'static str,
    /// The stage.
    pub stage: DeliveryStage,
    /// The verdict on the stage.
    pub verdict: VerifyVerdict,
    /// When the first test began.
    pub started_at: Timestamp,
    /// How long the tests took, in seconds.
    pub duration_seconds: f64,
    /// The configuration of the command.
    pub config: VerifyConfig,
    /// The outcome of each test of the stage table, or of each test of a canary, in their order.
    pub tests: Vec<Outcome>,
}

impl VerifyReport {
    /// Combines the outcomes. Replaces the token in every text, because a server may repeat it in a response.
    #[must_use]
    pub fn of(
        stage: DeliveryStage,
        config: VerifyConfig,
        (started_at, duration_seconds): (Timestamp, f64),
        mut tests: Vec<Outcome>,
        interrupted: bool,
        token: Option<&Token>,
    ) -> Self {
        if let Some(token) = token {
            for test in &mut tests {
                test.seen = token.redact(&test.seen);
                test.reason = test.reason.as_deref().map(|reason| token.redact(reason));
            }
        }
        let any = |status| tests.iter().any(|test: &Outcome| test.status == status);
        Self {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION"),
            stage,
            verdict: if any(TestStatus::Failed) {
                VerifyVerdict::Failed
            } else if interrupted {
                VerifyVerdict::Interrupted
            } else if any(TestStatus::Passed) {
                VerifyVerdict::Passed
            } else {
                // No test proves nothing.
                VerifyVerdict::Failed
            },
            started_at,
            duration_seconds,
            config,
            tests,
        }
    }

    /// Returns the number of tests with this status.
    #[must_use]
    pub fn count(&self, status: TestStatus) -> usize {
        self.tests.iter().filter(|test| test.status == status).count()
    }
}
