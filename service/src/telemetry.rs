//! Logging to standard output, in JSON or text. A panic is one event.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, IsTerminal};
use std::panic;
use std::sync::Arc;
use std::time::Duration;

use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, reload};

use crate::config::LogConfig;
use crate::log_filter;
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
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&config.filter));
    log_filter::install(&config.filter, handle);
    let lines = fmt::layer()
        // Otherwise a failed write is reported on standard error, and panics if that fails, too.
        .log_internal_errors(false)
        .with_writer(Arc::clone(&writer));
    let lines = if config.format.is_json(on_terminal) {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    } else {
        lines.with_ansi(on_terminal).boxed()
    };
    tracing_subscriber::registry().with(filter).with(lines).init();
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
