//! The flags of the commands that look at a cluster.

use std::time::Duration;

use clap::Args;
use prover::{chain::ChainOptions, cluster::PrometheusService};

use crate::options::ChainCommandOptions;

/// Where the cluster is, and what is where in it.
#[derive(Debug, Args)]
pub struct ClusterArguments {
    /// The kubeconfig's context (default: its current one)
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,

    /// The namespace of the HPA
    #[arg(long, short = 'N', default_value = "sample-app", help_heading = "Cluster")]
    pub namespace: String,

    /// The Service of Prometheus
    #[arg(
        long,
        value_name = "NAMESPACE/NAME:PORT",
        default_value = "monitoring/prometheus:9090",
        help_heading = "Cluster"
    )]
    pub prometheus: PrometheusService,

    /// The series that pods export and the adapter's rule reads
    #[arg(
        long,
        value_name = "NAME",
        default_value = "http_requests_total",
        help_heading = "Cluster"
    )]
    pub series: String,
}

impl ClusterArguments {
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

/// Flags of `loadtest chain`.
#[derive(Debug, Args)]
pub struct ChainArguments {
    /// The HPA at the chain's end (repeat for more)
    #[arg(long, value_name = "NAME", default_value = "app-a")]
    pub hpa: Vec<String>,

    /// How long to wait for the chain to become whole
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = humantime::parse_duration)]
    pub wait: Duration,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub cluster: ClusterArguments,
}

impl ChainArguments {
    /// The options of the command.
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
