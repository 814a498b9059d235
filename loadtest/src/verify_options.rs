//! The options of `loadtest verify` as plain values.

use std::{collections::BTreeMap, time::Duration};

use engine::Plan;
use prover::verify::{
    ApplyOptions, CanaryOptions, Check, Client, DeliveryStage, ResponseTimeBounds, SpreadOptions, Test,
    Tolerance, VerifyConfig,
};

use crate::{
    options::{ClusterOptions, ScaleOptions},
    output::OutputFile,
    report_files::ReportFiles,
};

/// What `loadtest verify` does.
#[derive(Debug)]
pub enum VerifyCommand {
    /// Prints the tests of a stage, or of all stages.
    List(Option<DeliveryStage>),
    /// Nothing: the flags were checked.
    Nothing,
    /// Runs the tests of a stage.
    Run(Box<VerifyOptions>),
}

/// The options of a run.
#[derive(Debug)]
pub struct VerifyOptions {
    /// The stage.
    pub stage: DeliveryStage,
    /// The tests to run, in the order of the stage.
    pub selected: Vec<Test>,
    /// The deadline of every test.
    pub deadlines: BTreeMap<Test, Duration>,
    /// What the report says about the configuration.
    pub config: VerifyConfig,
    /// The cluster.
    pub cluster: ClusterOptions,
    /// What `apply` applies.
    pub apply: ApplyOptions,
    /// How requests are sent.
    pub client: Client,
    /// The check of `hello-http`.
    pub hello: Check,
    /// The check of `jobs-https`.
    pub jobs: Check,
    /// The checks of `urls`.
    pub urls: Vec<Check>,
    /// The proof of scaling; `None` if no selected test judges it.
    pub scale: Option<ScaleOptions>,
    /// The bounds of `response-time`.
    pub response_time: ResponseTimeBounds,
    /// The parameters of the tests of canaries.
    pub canary: CanaryOptions,
    /// The load of `settled`, or of `canary-load`; `None` if neither is selected.
    pub probe: Option<Plan>,
    /// When two windows of `settled` count as equal.
    pub tolerance: Tolerance,
    /// The parameters of `spread`.
    pub spread: SpreadOptions,
    /// The JSON report file.
    pub json: Option<OutputFile>,
    /// The HTML report file.
    pub html: Option<OutputFile>,
    /// The JUnit and Markdown files.
    pub reports: ReportFiles,
}
