//! Configuration: the log settings that all programs share, and what the certificate is for.

use crate::{certificate::Identity, files::Files};
use clap::{Args, Parser, Subcommand};
use service::config::{Configuration, Invalid, LogConfig, values};
use service::console;
use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};
use time::OffsetDateTime;

/// Creates, publishes and renews the serving certificate of an aggregated API server
// The client's own log events are off: its errors are returned, and the sidecar logs them.
#[derive(Clone, Debug, Parser)]
#[command(name = "serving-cert", version, mut_arg("log_filter", |arg| arg.default_value("info,kube_client=off")))]
pub struct Config {
    /// The command
    #[command(subcommand)]
    pub command: Command,

    /// The settings of the log
    #[command(flatten)]
    pub log: LogConfig,
}

/// A command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run as the sidecar of the server until SIGTERM
    Run(RunConfig),
    /// Exit 0 if the certificate exists and is valid, 1 if not
    Check(FilesConfig),
}

/// The settings of `run`.
#[derive(Clone, Debug, Args)]
pub struct RunConfig {
    /// The `APIService` whose caBundle is maintained
    #[arg(long, env = "API_SERVICE", value_name = "NAME", value_parser = name)]
    pub api_service: String,

    /// The Service of the server; part of the certificate's DNS names
    #[arg(long, env = "SERVICE_NAME", value_name = "NAME", value_parser = name)]
    pub service_name: String,

    /// The namespace of that Service
    #[arg(long, env = "SERVICE_NAMESPACE", value_name = "NAME", value_parser = name)]
    pub service_namespace: String,

    /// The DNS domain of the cluster
    #[arg(long, env = "CLUSTER_DOMAIN", value_name = "NAME", value_parser = name, default_value = "cluster.local")]
    pub cluster_domain: String,

    /// The name of this pod; part of the subject of its authorities
    #[arg(long, env = "POD_NAME", value_name = "NAME", value_parser = name)]
    pub pod_name: String,

    /// The files of the certificate
    #[command(flatten)]
    pub files: FilesConfig,

    /// Lifetime of a certificate; renewed after about two thirds of it, and in use at most two reconcile intervals later
    #[arg(long, env = "VALIDITY", value_name = "DURATION", value_parser = validity, default_value = "30days")]
    pub validity: Duration,

    /// Address and port of the admin listener, which serves /metrics, /livez, /readyz and /log-level
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS:PORT", value_parser = values::address, default_value = "127.0.0.1:9002")]
    pub admin_listen: SocketAddr,

    /// Interval at which the caBundle is checked and repaired
    #[arg(long, env = "RECONCILE_INTERVAL", value_name = "DURATION", value_parser = interval, default_value = "10s")]
    pub reconcile_interval: Duration,
}

/// The files of the certificate.
#[derive(Clone, Debug, Args)]
pub struct FilesConfig {
    /// The directory of tls.crt and tls.key, which the server reads
    #[arg(
        long,
        env = "DIRECTORY",
        value_name = "PATH",
        default_value = "/var/run/serving-cert"
    )]
    pub directory: PathBuf,
}

impl RunConfig {
    /// The identity that certificates are issued for.
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

impl Configuration for Config {
    fn log(&self) -> &LogConfig {
        &self.log
    }

    fn run_command(&self) -> Option<ExitCode> {
        let Command::Check(files) = &self.command else {
            return None;
        };
        Some(
            match Files::new(&files.directory).check(OffsetDateTime::now_utc()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    console::error(format_args!("serving-cert: {error:#}"));
                    ExitCode::FAILURE
                }
            },
        )
    }

    fn check(&self) -> Result<(), Invalid> {
        let Command::Run(run) = &self.command else {
            return Ok(());
        };
        // A renewal is due after at most 70 % of the validity, and takes at most two intervals.
        if run.reconcile_interval.mul_f64(2.0) >= run.validity.mul_f64(0.3) {
            let accepted =
                "a duration below 15 % of VALIDITY, so that a renewal ends before the certificate expires";
            return Err(Invalid::new("RECONCILE_INTERVAL", accepted));
        }
        Ok(())
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("a name of at least one character".to_owned());
    }
    Ok(text.to_owned())
}

fn validity(text: &str) -> Result<Duration, String> {
    // The years of a certificate have four digits. 100 years is far below, and far above any use.
    const LONGEST: Duration = Duration::from_hours(100 * 365 * 24);
    at_least(Duration::from_mins(1), text)
        .filter(|validity| *validity <= LONGEST)
        .ok_or_else(|| "a duration from 1m to 36500days such as 30days".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    at_least(Duration::from_millis(100), text)
        .ok_or_else(|| "a duration of at least 100ms such as 10s".to_owned())
}

fn at_least(shortest: Duration, text: &str) -> Option<Duration> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| *duration >= shortest)
}
