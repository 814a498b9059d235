//! Turns a clap error into one line for the operator: the variable, its value, and the accepted values.

use std::error::Error as _;
use std::fmt;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use clap::{Arg, Command, CommandFactory};

use crate::console;

/// Exit code for a bad configuration: `EX_USAGE` of `sysexits.h`.
pub const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Values that conflict with each other, or a missing one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(String);

impl Invalid {
    /// `variable` is the environment variable to change. `accepted` completes the sentence "it accepts …".
    pub fn new(variable: &'static str, accepted: impl fmt::Display) -> Self {
        let flag = variable.to_lowercase().replace('_', "-");
        Self(format!(
            "{variable} (or --{flag}) cannot be used: it accepts {accepted}"
        ))
    }

    /// `reason` names the variables and says what to set.
    #[must_use]
    pub fn because(reason: &str) -> Self {
        Self(reason.to_owned())
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

/// Prints the error and returns the exit code.
pub(super) fn print<C: CommandFactory>(error: &Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed standard output must not fail a request for help.
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
    let name = command.get_name();
    console::error(format_args!(
        "{name}: {line}\n{name}: --help lists every variable"
    ));
}

/// Returns the line for a rejected value. `None` if the message of clap is as clear, such as for an unknown flag.
fn explain(error: &Error, command: &Command) -> Option<String> {
    let Some(ContextValue::String(usage)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let flag = usage.split([' ', '=', '[']).next()?;
    let argument = command
        .get_arguments()
        .chain(command.get_subcommands().flat_map(Command::get_arguments))
        .find(|argument| Some(flag) == long_flag(argument).as_deref())?;
    let variable = argument.get_env()?.to_string_lossy();
    let accepted = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => source.to_string(),
        (None, Some(ContextValue::Strings(values))) if !values.is_empty() => values.join(", "),
        _ => return None,
    };
    let value = match error.get(ContextKind::InvalidValue) {
        // A URL may contain a password.
        Some(ContextValue::String(value)) if !argument.is_hide_env_values_set() => format!("{value:?}"),
        _ => "not usable".to_owned(),
    };
    Some(format!(
        "{variable} (or {flag}) is {value}: it accepts {accepted}"
    ))
}

fn long_flag(argument: &Arg) -> Option<String> {
    argument.get_long().map(|name| format!("--{name}"))
}
