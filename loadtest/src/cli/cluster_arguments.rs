//! The flags of the commands that read a cluster.

use std::time::Duration;

use clap::Args;
use prover::cluster::PrometheusService;

use crate::options::{ChainCommandOptions, ClusterOptions};

/// The cluster and the names of the objects in it.
#[derive(Debug, Args)]
pub struct ClusterArguments {
    /// Kubeconfig context (default: the current one)
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,

    /// Namespace of the HPA
    #[arg(long, short = 'N', default_value = "sample-app", help_heading = "Cluster")]
    pub namespace: String,

    /// Prometheus Service
    #[arg(
        long,
        value_name = "NAMESPACE/NAME:PORT",
        default_value = "monitoring/prometheus:9090",
        help_heading = "Cluster"
    )]
    pub prometheus: PrometheusService,

    /// Request counter that the pods export and the adapter's rule reads
    #[arg(
        long,
        value_name = "NAME",
        default_value = "http_requests_total",
        help_heading = "Cluster"
    )]
    pub series: String,
}

impl ClusterArguments {
    /// Returns the options of the command.
    #[must_use]
    pub fn options(&self) -> ClusterOptions {
        ClusterOptions {
            context: self.context.clone(),
            namespace: self.namespace.clone(),
            prometheus: self.prometheus.clone(),
            series: self.series.clone(),
        }
    }
}

/// Flags of `loadtest chain`.
#[derive(Debug, Args)]
pub struct ChainArguments {
    /// HPA at the end of the metrics chain (repeatable)
    #[arg(long, value_name = "NAME", default_value = "app-a")]
    pub hpa: Vec<String>,

    /// How long to wait until the chain is whole
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub wait: Duration,

    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub cluster: ClusterArguments,
}

impl ChainArguments {
    /// Returns the options of the command.
    #[must_use]
    pub fn options(&self) -> ChainCommandOptions {
        ChainCommandOptions {
            cluster: self.cluster.options(),
            hpas: self.hpa.clone(),
            wait: self.wait,
            json: self.json,
        }
    }
}
