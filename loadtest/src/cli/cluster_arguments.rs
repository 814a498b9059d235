//! The flags of the commands that read a cluster.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use prover::cluster::PrometheusService;

use crate::options::{ChainCommandOptions, ChainSource, ClusterOptions, ManifestOptions};

/// The cluster and the names of the objects in it.
#[derive(Debug, Args)]
pub struct ClusterArguments {
    /// Kubeconfig context (default: the current one)
    #[arg(long, value_name = "NAME", help_heading = "Cluster")]
    pub context: Option<String>,

    /// Namespace of the HPA (default: sample-app)
    #[arg(long, short = 'N', help_heading = "Cluster")]
    pub namespace: Option<String>,

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
            namespace: self.namespace.clone().unwrap_or_else(|| "sample-app".to_owned()),
            prometheus: self.prometheus.clone(),
            series: self.series.clone(),
        }
    }
}

/// Flags of `loadtest chain`.
#[derive(Debug, Args)]
pub struct ChainArguments {
    /// HPA at the end of the metrics chain (repeatable; default: app-a, or every HPA of the manifests)
    #[arg(long, value_name = "NAME")]
    pub hpa: Vec<String>,

    /// Check rendered manifests instead of a cluster: a file with YAML or JSON, or - for standard input (repeatable). Objects
    /// without a namespace are in --namespace (default: default)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["wait", "context", "prometheus", "series"], help_heading = "Manifests")]
    pub manifests: Vec<PathBuf>,

    /// The /metrics page of a pod, as a file or - for standard input
    #[arg(long, value_name = "FILE", requires = "manifests", help_heading = "Manifests")]
    pub metrics: Option<PathBuf>,

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
        let mut hpas = self.hpa.clone();
        let source = if self.manifests.is_empty() {
            if hpas.is_empty() {
                hpas.push("app-a".to_owned());
            }
            ChainSource::Cluster {
                cluster: self.cluster.options(),
                wait: self.wait,
            }
        } else {
            ChainSource::Manifests(ManifestOptions {
                files: self.manifests.clone(),
                metrics: self.metrics.clone(),
                namespace: self
                    .cluster
                    .namespace
                    .clone()
                    .unwrap_or_else(|| "default".to_owned()),
            })
        };
        ChainCommandOptions {
            source,
            hpas,
            json: self.json,
        }
    }
}
