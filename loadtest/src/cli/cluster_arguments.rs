//! The flags of the commands that read a cluster.

use std::time::Duration;

use clap::Args;
use prover::{chain::ChainOptions, cluster::PrometheusService};

use crate::options::ChainCommandOptions;

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
            context: self.cluster.context.clone(),
            chains: self.hpa.iter().map(|hpa| self.cluster.chain(hpa)).collect(),
            wait: self.wait,
            json: self.json,
        }
    }
}
