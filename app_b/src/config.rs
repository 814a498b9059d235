//! Configuration: the shared settings of a service, the database, and the source of the users.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, Parser};
use service::config::{Configuration, Invalid, LogConfig, ServiceConfig, values};

use crate::commands::Command;
use crate::store::{DatabaseUrl, database_url};
use crate::users::Source;

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

    /// File of the users, one in each line; changes apply without a restart. `app_b user-entry NAME` prints a line
    #[arg(long, env = "USERS_FILE", value_name = "PATH", value_parser = values::path)]
    pub users_file: Option<PathBuf>,

    /// Accept the demonstration users instead of a file; their tokens are public
    #[arg(long, env = "DEMO_USERS", value_name = "BOOL", value_parser = values::boolean, action = ArgAction::Set,
          num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true")]
    pub demo_users: bool,
}

impl Config {
    /// Returns the source of the users.
    ///
    /// # Errors
    /// If no source is set, or both.
    pub fn user_source(&self) -> Result<Source, Invalid> {
        match (&self.users_file, self.demo_users) {
            (Some(path), false) => Ok(Source::File(path.clone())),
            (None, true) => Ok(Source::Demo),
            (None, false) => Err(Invalid::because(
                "there are no users: set USERS_FILE to a file with users (`app_b user-entry NAME` prints its lines), or \
                 DEMO_USERS=true for a demonstration: the tokens of these users are public",
            )),
            (Some(_), true) => Err(Invalid::because(
                "USERS_FILE and DEMO_USERS are both set: keep USERS_FILE, or DEMO_USERS for a demonstration",
            )),
        }
    }
}

impl Configuration for Config {
    fn log(&self) -> &LogConfig {
        &self.service.log
    }

    fn run_command(&self) -> Option<ExitCode> {
        let command = self.command.as_ref()?;
        Some(command.run(&self.service))
    }

    fn check(&self) -> Result<(), Invalid> {
        self.service.check()?;
        // A command needs no users.
        if self.command.is_none() {
            self.user_source()?;
        }
        Ok(())
    }
}
