//! Configuration: the shared settings of a service, TLS, and the client to `app_b`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use reqwest::Url;
use service::config::{Command, Configuration, Invalid, LogConfig, ServiceConfig, TlsConfig, values};

/// The public frontend of the pair
#[derive(Debug, Clone, Parser)]
#[command(name = "app_a", version, mut_arg("listen", |arg| arg.default_value("127.0.0.1:5000")),
          mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9000")))]
pub struct Config {
    /// A command that replaces serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The settings that both services share
    #[command(flatten)]
    pub service: ServiceConfig,

    /// The settings of the TLS listener
    #[command(flatten)]
    pub tls: TlsConfig,

    /// The settings of the client to `app_b`
    #[command(flatten)]
    pub app_b: AppBConfig,
}

/// The settings of the client to `app_b`.
#[derive(Debug, Clone, clap::Args)]
pub struct AppBConfig {
    /// URL of `app_b`
    // A URL with a password is rejected, and a rejected value is neither shown nor logged.
    #[arg(long = "app-b-url", env = "APP_B_URL", id = "app_b_url", value_name = "URL", hide_env_values = true,
          value_parser = app_b_url, default_value = "http://127.0.0.1:5001")]
    pub url: Url,

    /// Time to connect to `app_b`
    #[arg(long = "app-b-connect-timeout", env = "APP_B_CONNECT_TIMEOUT", id = "app_b_connect_timeout",
          value_name = "DURATION", value_parser = values::positive_duration, default_value = "1s")]
    pub connect_timeout: Duration,

    /// Time for a call to `app_b`, connect and retry included; less than `REQUEST_TIMEOUT`
    #[arg(long = "app-b-timeout", env = "APP_B_TIMEOUT", id = "app_b_timeout", value_name = "DURATION",
          value_parser = values::positive_duration, default_value = "3s")]
    pub timeout: Duration,

    /// Number of connections over which the calls to `app_b` are spread; more are open while more calls run at once
    #[arg(long = "app-b-connections", env = "APP_B_CONNECTIONS", id = "app_b_connections",
          value_name = "CONNECTIONS", value_parser = connections, default_value = "8")]
    pub connections: usize,

    /// Largest number of idle connections to `app_b`, at least `APP_B_CONNECTIONS`; 0 opens a connection for each call
    #[arg(long = "app-b-pool-max-idle", env = "APP_B_POOL_MAX_IDLE", id = "app_b_pool_max_idle",
          value_name = "CONNECTIONS", value_parser = values::count, default_value = "64")]
    pub pool_max_idle: usize,

    /// Time that a connection to `app_b` may be idle; less than `app_b`'s `MAX_CONNECTION_AGE` and `KEEP_ALIVE_TIMEOUT`
    #[arg(long = "app-b-pool-idle-timeout", env = "APP_B_POOL_IDLE_TIMEOUT", id = "app_b_pool_idle_timeout",
          value_name = "DURATION", value_parser = values::positive_duration, default_value = "5s")]
    pub pool_idle_timeout: Duration,
}

impl Configuration for Config {
    fn log(&self) -> &LogConfig {
        &self.service.log
    }

    fn run_command(&self) -> Option<ExitCode> {
        Some(self.service.run(self.command?))
    }

    fn check(&self) -> Result<(), Invalid> {
        self.service.check()?;
        self.tls.check(&self.service)?;
        if self.app_b.timeout >= self.service.request_timeout {
            // Otherwise the request would time out first, and the log would not name app_b.
            return Err(Invalid::new("APP_B_TIMEOUT", "a duration below REQUEST_TIMEOUT"));
        }
        if self.app_b.connect_timeout > self.app_b.timeout {
            return Err(Invalid::new(
                "APP_B_CONNECT_TIMEOUT",
                "a duration of at most APP_B_TIMEOUT",
            ));
        }
        // Otherwise some of the calls would always open a connection.
        if (1..self.app_b.connections).contains(&self.app_b.pool_max_idle) {
            return Err(Invalid::new(
                "APP_B_POOL_MAX_IDLE",
                "a whole number of at least APP_B_CONNECTIONS, or 0",
            ));
        }
        Ok(())
    }
}

/// The largest number of pools. Each pool is a client, which takes memory.
const MAX_CONNECTIONS: usize = 256;

fn connections(text: &str) -> Result<usize, String> {
    let number = values::positive_count(text).ok();
    number
        .filter(|number| *number <= MAX_CONNECTIONS)
        .ok_or_else(|| format!("a whole number from 1 to {MAX_CONNECTIONS}"))
}

fn app_b_url(text: &str) -> Result<Url, String> {
    let accepted = || "a URL of scheme http with no path, such as http://app-b:5001".to_owned();
    let url: Url = text.parse().map_err(|_| accepted())?;
    let plain = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    let fits = url.scheme() == "http" && url.has_host() && url.path() == "/" && plain;
    if fits { Ok(url) } else { Err(accepted()) }
}
