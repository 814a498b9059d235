//! The commands of `app_b` that replace serving.

use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;

use clap::Subcommand;
use service::config::{EXIT_BAD_CONFIGURATION, ServiceConfig};
use service::console;

use crate::users::entry;

/// A command that replaces serving.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// A command that both services have.
    #[command(flatten)]
    Shared(service::config::Command),

    /// Read a token from standard input, and print the line of the users file that gives it to a user
    UserEntry {
        /// The name of the user
        #[arg(value_parser = entry::user_name)]
        name: String,
    },
}

impl Command {
    /// Runs the command and returns its exit code.
    pub(crate) fn run(&self, service: &ServiceConfig) -> ExitCode {
        match self {
            Self::Shared(command) => service.run(*command),
            Self::UserEntry { name } => match print_user_entry(name) {
                Ok(code) => code,
                Err(error) => {
                    console::error(format_args!("app_b user-entry: {error}"));
                    ExitCode::FAILURE
                }
            },
        }
    }
}

/// Prints the entry of a user. The token comes from standard input, because every process can read an argument.
fn print_user_entry(name: &str) -> io::Result<ExitCode> {
    let refuse = |fault: &str| {
        console::error(format_args!("app_b user-entry: {fault}"));
        Ok(ExitCode::from(EXIT_BAD_CONFIGURATION))
    };
    let stdin = io::stdin();
    if stdin.is_terminal() {
        // The terminal would show the token.
        return refuse("the token comes from a pipe or a file, such as `app_b user-entry NAME < FILE`");
    }
    let mut token = Vec::new();
    // One byte more than a token and the end of its line, to detect a longer one.
    let limit = u64::try_from(entry::MAX_TOKEN + 3).unwrap_or(u64::MAX);
    stdin.take(limit).read_to_end(&mut token)?;
    let token = String::from_utf8_lossy(&token);
    let token = token.strip_suffix('\n').unwrap_or(&token);
    let token = token.strip_suffix('\r').unwrap_or(token);
    if let Err(fault) = entry::check_token(token) {
        return refuse(&fault);
    }
    writeln!(io::stdout(), "{}", entry::line(name, token))?;
    Ok(ExitCode::SUCCESS)
}
