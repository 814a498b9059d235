//! Configuration from flags and environment variables: what both services understand, and how a bad value is
//! reported.

mod report;
pub mod values;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use crate::telemetry::LogFormat;

pub use report::Invalid;

/// Exit code for a configuration that cannot be used: `EX_USAGE` of `sysexits.h`.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// What a service's whole configuration offers to the code that starts it.
pub trait Configuration: Parser {
    /// The part that both services share.
    fn service(&self) -> &ServiceConfig;

    /// What to do instead of serving, if anything.
    fn command(&self) -> Option<&Command>;

    /// Looks at values together, after each has been accepted alone.
    ///
    /// # Errors
    /// Names the variable to change and what it accepts.
    fn check(&self) -> Result<(), Invalid> {
        self.service().check()
    }
}

/// What the binary does other than serving.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Ask the /readyz of a running service (at `ADMIN_LISTEN`) and exit 0 if it is ready, 1 if not
    Healthcheck,
}

/// The settings that both services share. Each is a flag and an environment variable of the same name.
#[derive(Debug, Clone, Args)]
pub struct ServiceConfig {
    /// Address and port to answer requests on
    #[arg(long, env = "LISTEN", value_name = "ADDRESS:PORT", value_parser = values::address, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,

    /// Address and port of the admin listener: /metrics, /livez, /readyz
    #[arg(long, env = "ADMIN_LISTEN", value_name = "ADDRESS:PORT", value_parser = values::address, default_value = "127.0.0.1:0")]
    pub admin_listen: SocketAddr,

    /// How log lines look; auto means text on a terminal and json elsewhere
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "auto")]
    pub log_format: LogFormat,

    /// What is logged: a level, or levels by module such as `info,app_a=debug`
    #[arg(long, env = "LOG_FILTER", value_name = "FILTER", value_parser = values::log_filter, default_value = "info")]
    pub log_filter: String,

    /// Time a request may take from its head to its answer
    #[arg(long, env = "REQUEST_TIMEOUT", value_name = "DURATION", value_parser = values::positive_duration, default_value = "10s")]
    pub request_timeout: Duration,

    /// Requests served at the same time; what exceeds them is answered 503 at once
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "REQUESTS", value_parser = values::positive_count, default_value = "1024")]
    pub max_in_flight: usize,

    /// Largest request body in bytes; what exceeds it is answered 413
    #[arg(long, env = "MAX_BODY_BYTES", value_name = "BYTES", value_parser = values::count, default_value = "65536")]
    pub max_body_bytes: usize,

    /// Time a client has to send the head of a request, counted from the connection or the head's first byte
    #[arg(long, env = "HEADER_READ_TIMEOUT", value_name = "DURATION", value_parser = values::positive_duration, default_value = "10s")]
    pub header_read_timeout: Duration,

    /// Time a connection may be idle between two requests; longer than a load balancer in front keeps its own
    #[arg(long, env = "KEEP_ALIVE_TIMEOUT", value_name = "DURATION", value_parser = values::positive_duration, default_value = "75s")]
    pub keep_alive_timeout: Duration,

    /// Age at which a connection is asked to close with its next answer, so that new pods get traffic (±20 %)
    #[arg(long, env = "MAX_CONNECTION_AGE", value_name = "DURATION", value_parser = values::positive_duration, default_value = "10s")]
    pub max_connection_age: Duration,

    /// Time to go on accepting after SIGTERM, while the cluster takes this pod out of its endpoints
    #[arg(long, env = "DRAIN_DELAY", value_name = "DURATION", value_parser = values::duration, default_value = "5s")]
    pub drain_delay: Duration,

    /// Time that requests in flight have to end, counted from the end of the drain delay
    #[arg(long, env = "DRAIN_DEADLINE", value_name = "DURATION", value_parser = values::positive_duration, default_value = "15s")]
    pub drain_deadline: Duration,

    /// Name given in `x-served-by`; without it HOSTNAME, then the host's name
    #[arg(long, env = "POD_NAME", value_name = "NAME", value_parser = values::header_text)]
    pub pod_name: Option<String>,

    /// Answer 200 with the same body wherever 400, 401 or 415 would be the answer, as the original services did
    #[arg(long, env = "LEGACY_STATUS", value_name = "BOOL", value_parser = values::boolean, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub legacy_status: bool,
}

impl ServiceConfig {
    /// The name that `x-served-by` carries.
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

    /// Looks at the shared values together.
    ///
    /// # Errors
    /// Names the variable to change.
    pub fn check(&self) -> Result<(), Invalid> {
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            return Err(Invalid::new(
                "ADMIN_LISTEN",
                "another address or port than LISTEN",
            ));
        }
        Ok(())
    }
}

/// Reads the configuration from the command line and the environment.
///
/// # Errors
/// The code to exit with, after the reason was printed to standard error: 64 for a bad value. Asking for help or the
/// version prints it and is a code, too: 0.
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
