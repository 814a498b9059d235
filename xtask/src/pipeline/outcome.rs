//! How a stage ends, and its exit code.

use std::fmt;
use std::process::ExitCode;

/// Why a stage stopped before it could judge the release.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Something is missing or unknown. Nothing was deployed.
    Refused(String),
    /// This signal came.
    Signal(i32),
    /// Another pipeline may deploy now.
    LeaseLost(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(formatter, "refused: {reason}"),
            Self::Signal(signal) => write!(formatter, "stopped by signal {signal}"),
            Self::LeaseLost(reason) => write!(formatter, "stopped, because the lease is lost: {reason}"),
        }
    }
}

impl std::error::Error for Stop {}

/// The error of a stage that must not run.
pub(super) fn refused(reason: impl Into<String>) -> anyhow::Error {
    Stop::Refused(reason.into()).into()
}

/// How a stage that judged the release ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The release passed, and stays.
    Passed,
    /// The release failed, and the last verified one runs again.
    RolledBack,
    /// The release failed, and no release before it was verified. What was deployed stays.
    NothingBefore,
    /// The release failed, and the last verified one did not become available again.
    RollbackFailed,
}

impl Outcome {
    fn code(self) -> u8 {
        match self {
            Self::Passed => 0,
            Self::RolledBack => 4,
            Self::NothingBefore => 5,
            Self::RollbackFailed => 6,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        outcome.code().into()
    }
}

/// The exit code of an error. 1 is every failure that says nothing about the release, 2 is clap's.
pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref() {
        Some(Stop::Refused(_)) => 3,
        // As a shell reports it: SIGINT and SIGTERM have the numbers 2 and 15.
        Some(Stop::Signal(signal)) => u8::try_from(128 + signal).unwrap_or(1),
        Some(Stop::LeaseLost(_)) | None => 1,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    /// The Jenkinsfile says what the codes mean.
    #[test]
    fn the_jenkinsfile_has_these_codes() {
        let text = std::fs::read_to_string(testbed::paths::workspace().join("Jenkinsfile")).unwrap();
        let cases: Vec<_> = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("case "))
            .collect();
        let refusal = exit_code(&refused("dirty"));
        let expected = [
            (refusal, "was refused"),
            (Outcome::RolledBack.code(), "failed, and was rolled back"),
            (
                Outcome::NothingBefore.code(),
                "failed, with nothing to roll back to",
            ),
            (Outcome::RollbackFailed.code(), "failed, and so did the rollback"),
        ];
        let expected = expected.map(|(code, text)| format!("{code}: return '{text}'"));
        assert_eq!(cases, expected);
    }

    #[test]
    fn each_end_has_a_code_of_its_own_also_below_a_context() {
        let ends = [
            Outcome::Passed,
            Outcome::RolledBack,
            Outcome::NothingBefore,
            Outcome::RollbackFailed,
        ];
        assert_eq!(ends.map(Outcome::code), [0, 4, 5, 6]);
        let stopped = |stop: Stop| Err::<(), _>(stop).context("apply").context("stage").unwrap_err();
        assert_eq!(exit_code(&stopped(Stop::Refused("dirty".to_owned()))), 3);
        assert_eq!(exit_code(&stopped(Stop::Signal(15))), 143);
        assert_eq!(exit_code(&stopped(Stop::LeaseLost("taken".to_owned()))), 1);
        assert_eq!(exit_code(&anyhow::anyhow!("kubectl failed")), 1);
    }
}
