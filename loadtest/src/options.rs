//! The options of the commands, as plain values.

use std::{path::PathBuf, time::Duration};

use engine::{
    Mix, Plan, Stripe, Threshold,
    units::{MaxFailed, Rate},
};
use jiff::Timestamp;
use prover::{chain::ChainOptions, cluster::PrometheusService};

use crate::{
    output::OutputFile,
    report_files::{ReportFiles, ResultFiles},
};

/// What a run must reach, and where its report goes.
#[derive(Debug)]
pub struct ResultOptions {
    /// The most lag of the generator; `None` for the command's default.
    pub max_lag: Option<Duration>,
    /// The most requests that may fail.
    pub max_failed: MaxFailed,
    /// The thresholds, in the order given.
    pub thresholds: Vec<Threshold>,
    /// Whether the report is printed as JSON.
    pub json: bool,
    /// The files of the reports.
    pub files: ResultFiles,
}

/// The options of `loadtest run`.
#[derive(Debug)]
pub struct RunOptions {
    /// What to send.
    pub plan: Plan,
    /// The part of the load to send, and when the first request of all parts is due.
    pub stripe: Option<(Stripe, Timestamp)>,
    /// What the run must reach, and where its report goes.
    pub result: ResultOptions,
}

/// The options of `loadtest merge`.
#[derive(Debug)]
pub struct MergeOptions {
    /// The files with the results of the stripes.
    pub files: Vec<PathBuf>,
    /// What the run must reach, and where its report goes.
    pub result: ResultOptions,
}

/// The options of `loadtest chain`.
#[derive(Debug)]
pub struct ChainCommandOptions {
    /// The kubeconfig's context; `None` for its current one.
    pub context: Option<String>,
    /// The chains to follow.
    pub chains: Vec<ChainOptions>,
    /// How long to wait for each chain to become whole.
    pub wait: Duration,
    /// Whether the result is printed as JSON.
    pub json: bool,
}

/// The options of `loadtest compare`.
#[derive(Debug)]
pub struct CompareOptions {
    /// The files of the runs before.
    pub before: Vec<PathBuf>,
    /// The files of the runs after.
    pub after: Vec<PathBuf>,
    /// The share up to which a change does not count.
    pub tolerance: f64,
    /// Whether the comparison is printed as JSON.
    pub json: bool,
}

/// A report that has a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The report of `run`, `job` and `merge`.
    Run,
    /// The report of `scale`.
    Scale,
    /// The report of `compare`.
    Compare,
    /// The report of `chain`.
    Chain,
}

/// The HPAs of a step and its rate.
#[derive(Clone, Debug)]
pub enum Step {
    /// A rate that one HPA receives whole.
    Rate {
        /// The HPA.
        hpa: String,
        /// The rate.
        rate: Rate,
    },
    /// As many requests as need a number of replicas of one HPA.
    Replicas {
        /// The HPA.
        hpa: String,
        /// The number of replicas.
        replicas: u16,
    },
    /// A rate of which each HPA receives a part.
    Mix {
        /// The whole rate.
        rate: Rate,
        /// The HPAs, each with its part.
        parts: Vec<(String, Rate)>,
    },
}

/// The options of `loadtest scale`.
#[derive(Debug)]
pub struct ScaleOptions {
    /// The kubeconfig's context; `None` for its current one.
    pub context: Option<String>,
    /// The namespace of the HPAs.
    pub namespace: String,
    /// The Service of Prometheus.
    pub prometheus: PrometheusService,
    /// The series that pods count requests in.
    pub series: String,
    /// The HPAs and the rate.
    pub step: Step,
    /// What is sent. Its schedule is empty; the schedule follows from the HPAs.
    pub plan: Plan,
    /// The connections of the step; `None` for a number that follows from the rate.
    pub connections: Option<usize>,
    /// How many runs there are.
    pub repeat: u16,
    /// How long until all replicas must be ready.
    pub scale_up_deadline: Duration,
    /// How long the replicas must stay.
    pub plateau: Duration,
    /// How long until the minimum must be reached again; `None` for a time that follows from the HPAs.
    pub scale_down_deadline: Option<Duration>,
    /// How long the cluster has to come to rest before the load; `None` for the scale-down deadline.
    pub settle_deadline: Option<Duration>,
    /// How long to wait for each chain to become whole.
    pub chain_wait: Duration,
    /// The rate during the scale-down; `None` for no load.
    pub tail_rate: Option<Rate>,
    /// The most lag of the generator; `None` for the command's default.
    pub max_lag: Option<Duration>,
    /// The most requests that may fail.
    pub max_failed: MaxFailed,
    /// The thresholds of the step, in the order given.
    pub thresholds: Vec<Threshold>,
    /// The file of the JSON report.
    pub json: Option<OutputFile>,
    /// The file of the page.
    pub html: Option<OutputFile>,
    /// The files of the reports for other programs.
    pub reports: ReportFiles,
}

impl ScaleOptions {
    /// What is requested.
    #[must_use]
    pub fn mix(&self) -> &Mix {
        &self.plan.mix
    }

    /// The chain of one HPA.
    #[must_use]
    pub fn chain(&self, hpa: &str) -> ChainOptions {
        ChainOptions {
            namespace: self.namespace.clone(),
            hpa: hpa.to_owned(),
            prometheus: self.prometheus.clone(),
            series: self.series.clone(),
        }
    }
}
