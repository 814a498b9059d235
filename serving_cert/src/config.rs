//! Configuration, by flag or environment variable.

use crate::certificate::Identity;
use clap::{Args, Parser, Subcommand};
use std::{path::PathBuf, time::Duration};

/// Makes, publishes and renews the serving certificate of an aggregated API server.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run as the server's sidecar until SIGTERM.
    Run(Run),
    /// Say whether the certificate is there and valid; for probes.
    Check(Check),
}

/// The settings of `run`.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The APIService whose caBundle is kept, such as v1beta1.custom.metrics.k8s.io.
    #[arg(long, env = "API_SERVICE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub api_service: String,
    /// The Service through which the server is reached; part of the certificate's names.
    #[arg(long, env = "SERVICE_NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub service_name: String,
    /// That Service's namespace.
    #[arg(long, env = "SERVICE_NAMESPACE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub service_namespace: String,
    /// The cluster's DNS domain.
    #[arg(long, env = "CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// This pod's name; names its authorities in the caBundle.
    #[arg(long, env = "POD_NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub pod_name: String,
    /// Where the certificate is, or goes.
    #[command(flatten)]
    pub files: Check,
    /// How long a certificate is valid; the next is made after about two thirds of it, and in use two rounds later. At
    /// least 1m.
    #[arg(long, env = "VALIDITY", default_value = "30days", value_parser = at_least_a_minute)]
    pub validity: Duration,
    /// How often the caBundle is looked at, and put right. At least 100ms.
    #[arg(long, env = "RECONCILE_INTERVAL", default_value = "10s", value_parser = at_least_a_tenth)]
    pub reconcile_interval: Duration,
}

/// The settings of `check`.
#[derive(Clone, Debug, Args)]
pub struct Check {
    /// The directory of tls.crt and tls.key, shared with the server.
    #[arg(long, env = "DIRECTORY", default_value = "/var/run/serving-cert")]
    pub directory: PathBuf,
}

impl Run {
    /// What certificates are made for.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::of_service(
            &self.service_name,
            &self.service_namespace,
            &self.cluster_domain,
            &self.pod_name,
        )
    }
}

fn at_least_a_minute(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_mins(1))
}

fn at_least_a_tenth(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100))
}

fn duration(text: &str, least: Duration) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration >= least => Ok(duration),
        Ok(_) => Err(format!("expected at least {}", humantime::format_duration(least))),
        Err(error) => Err(format!("expected a duration such as 10s or 30days: {error}")),
    }
}
