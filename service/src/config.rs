//! Configuration from flags and environment variables: the settings that programs share, and the report of a bad value.

mod log;
mod report;
mod tls;
mod trace;
pub mod values;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::{healthcheck, open_files};

pub use log::{LogConfig, LogFormat};
pub use report::{EXIT_BAD_CONFIGURATION, Invalid};
pub use tls::TlsConfig;
pub use trace::{Endpoint, TraceConfig, TraceSampler};

/// The configuration of a program, as [`crate::runtime::run`] needs it.
pub trait Configuration: Parser {
    /// The settings of the log.
    fn log(&self) -> &LogConfig;

    /// Runs the command of the command line, such as a probe, and returns its exit code. `None` means to serve.
    fn run_command(&self) -> Option<ExitCode>;

    /// Checks values that depend on each other. The parser has already accepted each value on its own.
    ///
    /// # Errors
    /// Names the variable to change and the values that it accepts.
    fn check(&self) -> Result<(), Invalid>;
}

/// A command that replaces serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Request /readyz of a running service (at `ADMIN_LISTEN`), and exit 0 if it is ready, 1 if not
    Healthcheck,
}

/// The settings that both HTTP services share. Each is a flag and an environment variable of the same name.
#[derive(Debug, Clone, Args)]
pub struct ServiceConfig {
    /// Address and port of the public listener
    #[arg(long, env = "LISTEN", value_name = "ADDRESS:PORT", value_parser = values::address, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Address and port of the admin listener, which serves /metrics, /livez, /readyz and /log-level
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS:PORT", value_parser = values::address, default_value = "127.0.0.1:0")]
    pub admin_listen: SocketAddr,

    /// The settings of the log
    #[command(flatten)]
    pub log: LogConfig,

    /// The settings of the trace export
    #[command(flatten)]
    pub trace: TraceConfig,

    /// Time for a request, from its head to its response
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", value_parser = values::positive_duration, default_value = "10s")]
    pub request_timeout: Duration,

    /// Requests in flight at the same time; further requests get 503 at once
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "REQUESTS", value_parser = values::positive_count, default_value = "1024")]
    pub max_in_flight: usize,

    /// Connections to the public listeners that are open at the same time; further clients wait. The default is what fits
    /// below the limit of open files
    #[arg(long, env = "MAX_CONNECTIONS", value_name = "CONNECTIONS", value_parser = values::positive_count)]
    pub max_connections: Option<usize>,

    /// Largest request body in bytes; a larger one gets 413
    #[arg(long, env = "MAX_BODY_BYTES", value_name = "BYTES", value_parser = values::count, default_value = "65536")]
    pub max_body_bytes: usize,

    /// Time for a client to send the head of a request, from the connection or the first byte of the head; also the time
    /// for a TLS handshake
    #[arg(long, env = "HEADER_READ_TIMEOUT", value_name = "DURATION", value_parser = values::positive_duration, default_value = "10s")]
    pub header_read_timeout: Duration,

    /// Time that a connection may be idle between two requests; set it above the idle timeout of a load balancer
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "DURATION", value_parser = values::positive_duration, default_value = "75s")]
    pub keep_alive_timeout: Duration,

    /// Age at which a connection closes with its next response, so that new pods get traffic (±20 %)
    #[arg(long, env = "MAX_CONNECTION_AGE", value_name = "DURATION", value_parser = values::positive_duration, default_value = "10s")]
    pub max_connection_age: Duration,

    /// Time to accept connections after SIGTERM, while the cluster removes this pod from its endpoints
    #[arg(long, env = "DRAIN_DELAY", value_name = "DURATION", value_parser = values::duration, default_value = "5s")]
    pub drain_delay: Duration,

    /// Time for requests in flight to complete, from the end of the drain delay
    #[arg(long, env = "DRAIN_DEADLINE", value_name = "DURATION", value_parser = values::positive_duration, default_value = "15s")]
    pub drain_deadline: Duration,

    /// Value of the header `x-served-by`; defaults to HOSTNAME, then to the name of the host
    #[arg(long, env = "POD_NAME", value_name = "NAME", value_parser = values::header_text)]
    pub pod_name: Option<String>,

    /// Respond 200 with the same body instead of 400, 401 or 415, as the original services did
    #[arg(long, env = "LEGACY_STATUS", value_name = "BOOL", value_parser = values::boolean, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub legacy_status: bool,
}

impl ServiceConfig {
    /// Runs a command and returns its exit code.
    #[must_use]
    pub fn run(&self, command: Command) -> ExitCode {
        match command {
            Command::Healthcheck => healthcheck::run(self.admin_listen),
        }
    }

    /// The bound of open connections to the public listener.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.max_connections
            .unwrap_or_else(|| open_files::max_connections(self.max_in_flight))
    }

    /// The value of the header `x-served-by`.
    #[must_use]
    pub fn instance_name(&self) -> String {
        let from_environment = || {
            std::env::var("HOSTNAME")
                .ok()
                .filter(|name| values::header_text(name).is_ok())
        };
        let from_kernel = || rustix::system::uname().nodename().to_string_lossy().into_owned();
        self.pod_name
            .clone()
            .or_else(from_environment)
            .unwrap_or_else(from_kernel)
    }

    /// Checks the shared values against each other.
    ///
    /// # Errors
    /// Names the variable to change.
    pub fn check(&self) -> Result<(), Invalid> {
        self.trace.check()?;
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            return Err(Invalid::new(
                "ADMIN_LISTEN",
                "an address or a port different from LISTEN",
            ));
        }
        let fits = open_files::max_connections(self.max_in_flight);
        if self.max_connections.is_some_and(|connections| connections > fits) {
            let accepted = format!("at most {fits} with the present limit of open files (ulimit -n)");
            return Err(Invalid::new("MAX_CONNECTIONS", accepted));
        }
        Ok(())
    }
}

/// Reads the configuration from the command line and the environment.
///
/// # Errors
/// Returns the exit code after printing: 64 for a bad value, with the reason on standard error; 0 for `--help` and
/// `--version`.
pub fn parse<C: Configuration>() -> Result<C, ExitCode> {
    let config = C::try_parse().map_err(|error| report::print::<C>(&error))?;
    match config.check() {
        Ok(()) => Ok(config),
        Err(invalid) => {
            report::print_invalid::<C>(&invalid);
            Err(ExitCode::from(EXIT_BAD_CONFIGURATION))
        }
    }
}
