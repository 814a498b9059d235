//! The stages of the pipeline.

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Build the images, start and ask each, push them, write the release file
    Build,
    /// Deploy and verify on a cluster of this machine
    Local,
    /// Deploy and verify on the cluster for tests
    Dev,
    /// Deploy and verify on the production cluster
    Prod,
}

impl Stage {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Local => "local",
            Self::Dev => "dev",
            Self::Prod => "prod",
        }
    }

    /// The stage that a release must have passed before this one.
    pub(super) fn previous(self) -> Option<Self> {
        match self {
            Self::Build => None,
            Self::Local => Some(Self::Build),
            Self::Dev => Some(Self::Local),
            Self::Prod => Some(Self::Dev),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
