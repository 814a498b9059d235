//! The options of the commands as plain values, independent of clap.

use std::{path::PathBuf, time::Duration};

use engine::{
    Mix, Plan, Stripe, Threshold,
    capacity::CapacityOptions,
    units::{MaxFailed, Rate},
};
use jiff::Timestamp;
use prover::{chain::ChainOptions, cluster::PrometheusService};

use crate::{
    output::OutputFile,
    report_files::{ReportFiles, ResultFiles},
};

/// The default upper bound of the generator's lag, except for `scale`. Lag above it distorts the latencies.
pub const DEFAULT_MAX_LAG: Duration = Duration::from_millis(20);

/// The bounds of a run and the destinations of its report.
#[derive(Debug)]
pub struct ResultOptions {
    /// The upper bound of the generator's lag; `None` for the command's default.
    pub max_lag: Option<Duration>,
    /// How many requests may fail.
    pub max_failed: MaxFailed,
    /// The thresholds, in the order of the command line.
    pub thresholds: Vec<Threshold>,
    /// Whether the report is printed as JSON.
    pub json: bool,
    /// The report files.
    pub files: ResultFiles,
}

/// The options of `loadtest run`.
#[derive(Debug)]
pub struct RunOptions {
    /// The load.
    pub plan: Plan,
    /// The stripe to send and the common start of all stripes; `None` to send the whole load.
    pub stripe: Option<(Stripe, Timestamp)>,
    /// The time after which a broken bound ends the load; `None` to send the whole load.
    pub abort_after: Option<Duration>,
    /// The bounds of the run and the destinations of its report.
    pub result: ResultOptions,
}

/// The options of `loadtest capacity`.
#[derive(Debug)]
pub struct CapacityCommandOptions {
    /// The load, without its schedule.
    pub plan: Plan,
    /// The bounds of the search.
    pub search: CapacityOptions,
    /// Whether the report is printed as JSON.
    pub json: bool,
    /// The JSON report file.
    pub output: Option<OutputFile>,
}

/// The options of `loadtest merge`.
#[derive(Debug)]
pub struct MergeOptions {
    /// The stripe results.
    pub files: Vec<PathBuf>,
    /// The bounds of the run and the destinations of its report.
    pub result: ResultOptions,
}

/// The cluster and the names of the objects in it.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The kubeconfig's context; `None` for its current one.
    pub context: Option<String>,
    /// The namespace of the HPAs.
    pub namespace: String,
    /// The Prometheus Service.
    pub prometheus: PrometheusService,
    /// The name of the request counter that pods export.
    pub series: String,
}

impl ClusterOptions {
    /// Returns the options to check the metrics chain of one HPA.
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

/// The manifests that `loadtest chain` checks. The path `-` is standard input.
#[derive(Debug)]
pub struct ManifestOptions {
    /// The files with the objects.
    pub files: Vec<PathBuf>,
    /// The file with the `/metrics` page of a pod.
    pub metrics: Option<PathBuf>,
    /// The namespace of the objects without one.
    pub namespace: String,
}

/// The source of the chains that `loadtest chain` checks.
#[derive(Debug)]
pub enum ChainSource {
    /// A cluster.
    Cluster {
        /// The cluster.
        cluster: ClusterOptions,
        /// How long to wait until each chain is whole.
        wait: Duration,
    },
    /// Rendered manifests.
    Manifests(ManifestOptions),
}

/// The options of `loadtest chain`.
#[derive(Debug)]
pub struct ChainCommandOptions {
    /// The source of the chains.
    pub source: ChainSource,
    /// The HPAs at the end of the metrics chains to check; empty for every HPA of the manifests.
    pub hpas: Vec<String>,
    /// Whether the result is printed as JSON.
    pub json: bool,
}

/// The options of `loadtest compare`.
#[derive(Debug)]
pub struct CompareOptions {
    /// The reports of the runs before the change.
    pub before: Vec<PathBuf>,
    /// The reports of the runs after the change.
    pub after: Vec<PathBuf>,
    /// The relative change up to which a number counts as unchanged; 0.05 is 5 %.
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
    /// The report of `capacity`.
    Capacity,
    /// The report of `verify`.
    Verify,
}

/// The rate of the load step and the HPAs that receive it.
#[derive(Clone, Debug)]
pub enum Step {
    /// One HPA receives the whole rate.
    Rate {
        /// The HPA.
        hpa: String,
        /// The rate.
        rate: Rate,
    },
    /// One HPA receives the rate that needs the given number of replicas.
    Replicas {
        /// The HPA.
        hpa: String,
        /// The number of replicas.
        replicas: u16,
    },
    /// Each HPA receives a part of the rate.
    Mix {
        /// The total rate.
        rate: Rate,
        /// The HPAs and their parts of the rate.
        parts: Vec<(String, Rate)>,
    },
}

/// The options of `loadtest scale` about nodes.
#[derive(Clone, Copy, Debug)]
pub struct NodesOptions {
    /// The number of zones that the new nodes must be in; `None` for the default.
    pub zones: Option<usize>,
    /// How many more ready nodes than another a zone may have; `None` for any number.
    pub max_skew: Option<usize>,
    /// The time limit for the return to the number of nodes from before the load; `None` to derive it from the autoscaler.
    pub deadline: Option<Duration>,
}

/// The options of `loadtest scale`.
#[derive(Debug)]
pub struct ScaleOptions {
    /// The cluster.
    pub cluster: ClusterOptions,
    /// The load step.
    pub step: Step,
    /// The plan of the load, with an empty schedule. The command derives the schedule from the HPAs.
    pub plan: Plan,
    /// The connections of the step; `None` to derive the number from the rate.
    pub connections: Option<usize>,
    /// The number of runs.
    pub repeat: u16,
    /// Whether the arrivals are random, as in a Poisson process.
    pub arrivals_are_random: bool,
    /// The seed of the random waits before the loads of several runs; `None` for a random seed.
    pub seed: Option<u64>,
    /// The time limit for all replicas to become ready.
    pub scale_up_deadline: Duration,
    /// How long the replica count must stay constant.
    pub plateau: Duration,
    /// The time limit for the return to the minimum; `None` to derive it from the HPAs.
    pub scale_down_deadline: Option<Duration>,
    /// The time limit for the cluster to become idle before the load; `None` for the scale-down deadline.
    pub settle_deadline: Option<Duration>,
    /// How long to wait until each chain is whole.
    pub chain_wait: Duration,
    /// What the nodes must do; `None` for a run that does not judge them.
    pub nodes: Option<NodesOptions>,
    /// The rate during the scale-down; `None` for no load.
    pub tail_rate: Option<Rate>,
    /// The upper bound of the generator's lag; `None` for the command's default.
    pub max_lag: Option<Duration>,
    /// How many requests may fail.
    pub max_failed: MaxFailed,
    /// The thresholds of the step, in the order of the command line.
    pub thresholds: Vec<Threshold>,
    /// The JSON report file.
    pub json: Option<OutputFile>,
    /// The HTML report file.
    pub html: Option<OutputFile>,
    /// The JUnit and Markdown files.
    pub reports: ReportFiles,
}

impl ScaleOptions {
    /// Returns the targets.
    #[must_use]
    pub fn mix(&self) -> &Mix {
        &self.plan.mix
    }
}
