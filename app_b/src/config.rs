//! Configuration: the shared settings of a service, and the database.

use std::process::ExitCode;

use clap::Parser;
use service::config::{Command, Configuration, Invalid, LogConfig, ServiceConfig};

use crate::store::{DatabaseUrl, database_url};

/// The internal service of the pair, which knows the users
#[derive(Debug, Clone, Parser)]
#[command(name = "app_b", version, mut_arg("listen", |arg| arg.default_value("127.0.0.1:5001")),
          mut_arg("admin_listen", |arg| arg.default_value("127.0.0.1:9001")))]
pub struct Config {
    /// A command that replaces serving
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The settings that both services share
    #[command(flatten)]
    pub service: ServiceConfig,

    /// Database of users: sqlite:// and the path of a file, which is created if it does not exist
    // Neither shown nor logged: the URL of another database than SQLite may contain a password.
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true, value_parser = database_url,
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
