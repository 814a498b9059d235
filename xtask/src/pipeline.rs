//! `cargo xtask pipeline`: build the images, and bring them through the stages: deploy, verify, keep or roll back.

mod build;
mod canary;
mod cluster;
mod deliver;
mod deploy;
mod event;
mod guard;
mod lease;
mod manifests;
mod options;
mod outcome;
mod prepare;
mod record;
mod registry;
mod release;
mod source;
mod stage;
mod target;
mod time;
mod verify;

use std::process::ExitCode;

use anyhow::Result;

pub(crate) use options::Options;
use outcome::{Outcome, exit_code};
use stage::Stage;

/// Runs a stage, or build and local.
///
/// The exit code says how it ended: docs/delivery.md.
pub(crate) fn run(options: &Options) -> ExitCode {
    let stages = match options.stage {
        Some(stage) => vec![stage],
        None => vec![Stage::Build, Stage::Local],
    };
    let mut outcome = Outcome::Passed;
    for stage in stages {
        if outcome == Outcome::Passed {
            match run_stage(options, stage) {
                Ok(ended) => outcome = ended,
                Err(error) => {
                    eprintln!("error: {error:#}");
                    return exit_code(&error).into();
                }
            }
        }
    }
    outcome.into()
}

fn run_stage(options: &Options, stage: Stage) -> Result<Outcome> {
    eprintln!("== stage {stage}");
    match stage {
        Stage::Build => build::run(options).map(|()| Outcome::Passed),
        Stage::Local | Stage::Dev | Stage::Prod => deliver::run(options, stage),
    }
}
