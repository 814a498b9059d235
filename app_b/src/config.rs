//! Configuration: what the services share, and where the users are stored.

use std::process::ExitCode;

use clap::Parser;
use service::config::{Command, Configuration, Invalid, LogConfig, ServiceConfig};

use crate::store::{self, DatabaseUrl};

/// The internal service of the pair, which knows the users
#[derive(Debug, Clone, Parser)]
#[command(name = "app_b", version, mut_arg("listen", |arg| arg.default_value("127.0.0.1:5001")),
          mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9001")))]
pub struct Config {
    /// What the binary does other than serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What both services share
    #[command(flatten)]
    pub service: ServiceConfig,

    /// Where the users are stored: sqlite:// and the path of a file, which is made if it is missing
    // May carry a password once there is another database than SQLite, so it is neither shown nor logged.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = store::database_url,
          default_value_t = DatabaseUrl::default())]
    pub database_url: DatabaseUrl,
}

impl Configuration for Config {
    fn log(&self) -> &LogConfig {
        &self.service.log
    }

    fn probe(&self) -> Option<ExitCode> {
        self.service.probe(self.command.as_ref())
    }

    fn check(&self) -> Result<(), Invalid> {
        self.service.check()
    }
}
