//! Logging to standard output, in JSON or text. A panic is one event.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::{EnvFilter, fmt};

use crate::config::LogConfig;
use crate::log_writer::LogWriter;

/// How long the exit waits for the reader of the log.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The log. Dropping it writes the lines that are still in the queue.
pub(crate) struct Log(Arc<LogWriter>);

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_LIMIT);
    }
}

/// Starts to write events to standard output, and turns panics into events. Call it once, before the first event.
///
/// # Errors
/// If the system cannot start the thread that writes.
///
/// # Panics
/// When called twice, which is a programming error.
pub(crate) fn init(config: &LogConfig) -> io::Result<Log> {
    let on_terminal = io::stdout().is_terminal();
    let writer = Arc::new(LogWriter::start(io::stdout())?);
    let subscriber = fmt()
        .with_env_filter(EnvFilter::new(&config.filter))
        // Otherwise a failed write is reported on standard error, and panics if that fails, too.
        .log_internal_errors(false)
        .with_writer(Arc::clone(&writer));
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
    Ok(Log(writer))
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
