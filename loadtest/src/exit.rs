//! What the process says to the shell: an exit code for each way to end.

use std::process::ExitCode;

use engine::BadConfiguration;

/// How the program ended. The codes are those of k6, where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Ok,
    /// The scaling, or the metrics chain, is not as it should be.
    AssertionFailed,
    /// More requests failed than were allowed to.
    ThresholdBroken,
    /// The command or its surroundings are wrong; no load was sent.
    BadConfiguration,
    /// Stopped by a signal; the reports are written, but for a Job's.
    Interrupted,
    /// The generator did not hold the rate, or a part of it was lost.
    Invalid,
}

impl Exit {
    /// The number.
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
