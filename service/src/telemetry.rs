//! Logging to standard output, in JSON or text. A panic is one event.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::IsTerminal;
use std::panic;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogConfig;

/// Starts to write events to standard output, and turns panics into events. Call it once, before the first event.
///
/// # Panics
/// When called twice, which is a programming error.
pub fn init(config: &LogConfig) {
    let on_terminal = std::io::stdout().is_terminal();
    let subscriber = fmt().with_env_filter(EnvFilter::new(&config.filter));
    if config.format.is_json(on_terminal) {
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
