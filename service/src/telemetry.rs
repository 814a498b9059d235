//! Logging: JSON lines where a machine reads them, text on a terminal, a panic as one event.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic;

use clap::ValueEnum;
use tracing_subscriber::{EnvFilter, fmt};

use crate::config::ServiceConfig;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl LogFormat {
    fn is_json(self, on_terminal: bool) -> bool {
        match self {
            Self::Auto => !on_terminal,
            Self::Json => true,
            Self::Text => false,
        }
    }
}

/// Sends events to standard output, and panics to the events. Called once, before anything is logged.
///
/// # Panics
/// When called twice: that is a programming error.
pub fn init(config: &ServiceConfig) {
    let on_terminal = std::io::stdout().is_terminal();
    let subscriber = fmt().with_env_filter(EnvFilter::new(&config.log_filter));
    if config.log_format.is_json(on_terminal) {
        subscriber
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .init();
    } else {
        subscriber.with_ansi(on_terminal).init();
    }
    panic::set_hook(Box::new(log_panic));
}

fn log_panic(info: &panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(not text)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(panic.message = message, panic.location = location, panic.backtrace = %backtrace, "panicked");
    } else {
        tracing::error!(panic.message = message, panic.location = location, "panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_text_on_a_terminal_and_json_elsewhere() {
        assert!(LogFormat::Auto.is_json(false));
        assert!(!LogFormat::Auto.is_json(true));
        assert!(!LogFormat::Text.is_json(false));
        assert!(LogFormat::Json.is_json(true));
    }
}
