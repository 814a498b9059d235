//! Turns clap's errors into one line that an operator can act on: the variable, its value, what it accepts.

use std::error::Error as _;
use std::fmt;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command, CommandFactory};

use super::EXIT_BAD_CONFIGURATION;

/// A value that is fine alone but not together with the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    variable: &'static str,
    accepted: String,
}

impl Invalid {
    /// `variable` is the environment variable to change, `accepted` completes "it accepts …".
    pub fn new(variable: &'static str, accepted: impl Into<String>) -> Self {
        Self {
            variable,
            accepted: accepted.into(),
        }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = self.variable.to_lowercase().replace('_', "-");
        write!(
            formatter,
            "{} (or --{flag}) cannot be used: it accepts {}",
            self.variable, self.accepted
        )
    }
}

/// Prints the error and gives the code to exit with.
pub(super) fn print<C: CommandFactory>(error: &Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed standard output is no reason to fail on a request for help.
        error.print().ok();
        return ExitCode::SUCCESS;
    }
    let command = C::command();
    match explain(error, &command) {
        Some(line) => print_line(&command, &line),
        None => {
            error.print().ok();
        }
    }
    ExitCode::from(EXIT_BAD_CONFIGURATION)
}

pub(super) fn print_invalid<C: CommandFactory>(invalid: &Invalid) {
    print_line(&C::command(), invalid);
}

fn print_line(command: &Command, line: &dyn fmt::Display) {
    eprintln!(
        "{}: {line}\n{}: --help lists every variable",
        command.get_name(),
        command.get_name()
    );
}

/// The line for a value that was refused, or nothing where clap's own words are as good (an unknown flag).
fn explain(error: &Error, command: &Command) -> Option<String> {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = usage.split([' ', '=', '[']).next()?;
    let argument = command
        .get_arguments()
        .find(|argument| Some(flag) == long_flag(argument).as_deref())?;
    let variable = argument.get_env()?.to_string_lossy();
    let accepted = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(values))) if !values.is_empty() => values.join(", "),
        _ => return None,
    };
    let value = match error.get(ContextKind::InvalidValue) {
        // A URL may carry a password.
        Some(ContextValue::String(value)) if !argument.is_hide_env_values_set() => format!("{value:?}"),
        _ => "a value that cannot be used".to_owned(),
    };
    Some(format!(
        "{variable} (or {flag}) is {value}: it accepts {accepted}"
    ))
}

fn long_flag(argument: &Arg) -> Option<String> {
    argument.get_long().map(|name| format!("--{name}"))
}
