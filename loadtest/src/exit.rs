//! The exit codes of the program.

use std::process::ExitCode;

use engine::BadConfiguration;

/// The outcome of the program. The codes are those of k6 where k6 has a code for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Ok,
    /// The scaling, the deployment or the metrics chain does not meet an assertion, or the program failed unexpectedly.
    AssertionFailed,
    /// Too many requests failed, a threshold is broken, no rate is held, or a compared number is worse.
    ThresholdBroken,
    /// The command or its environment is wrong; no load was sent.
    BadConfiguration,
    /// Stopped by a signal. If the load had started, the reports cover the part before the signal.
    Interrupted,
    /// The generator did not hold the rate, or a stripe was lost.
    Invalid,
}

impl Exit {
    /// Returns the numeric exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::AssertionFailed => 1,
            Self::ThresholdBroken => 99,
            Self::BadConfiguration => BadConfiguration::EXIT_CODE,
            Self::Interrupted => 105,
            Self::Invalid => 106,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}
