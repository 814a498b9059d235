//! The filter of the log, which an operator can change while the process runs.

use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::reload::Handle;
use tracing_subscriber::{EnvFilter, Registry};

use crate::config::values;

/// The filter of the process. Empty until the log starts.
static FILTER: OnceLock<LogFilter> = OnceLock::new();

struct LogFilter {
    directives: Mutex<String>,
    handle: Handle<EnvFilter, Registry>,
}

/// Reasons why the filter is not changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// The log has not started.
    NoLog,
    /// The directives are invalid. States the reason and the accepted values.
    Invalid(String),
}

/// Makes the filter of the subscriber changeable through its handle.
pub(crate) fn install(directives: &str, handle: Handle<EnvFilter, Registry>) {
    let filter = LogFilter {
        directives: Mutex::new(directives.to_owned()),
        handle,
    };
    FILTER.set(filter).ok();
}

/// Returns the present directives.
pub(crate) fn current() -> Result<String, Error> {
    let filter = FILTER.get().ok_or(Error::NoLog)?;
    let directives = filter.directives.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(directives.clone())
}

/// Replaces the filter.
pub(crate) fn set(directives: &str) -> Result<(), Error> {
    let new = parse(directives).map_err(Error::Invalid)?;
    let filter = FILTER.get().ok_or(Error::NoLog)?;
    let mut present = filter.directives.lock().unwrap_or_else(PoisonError::into_inner);
    // Log before the change: the new filter may not admit the event.
    tracing::info!(log.filter = directives, "the log filter changes");
    filter.handle.reload(new).map_err(|_gone| Error::NoLog)?;
    directives.clone_into(&mut present);
    Ok(())
}

fn parse(directives: &str) -> Result<EnvFilter, String> {
    let explained = |reason: String| format!("{directives:?} is not a filter: {reason}");
    let filter = EnvFilter::try_new(directives).map_err(|error| error.to_string());
    match (values::log_filter(directives), filter) {
        (Ok(_), filter) => filter.map_err(explained),
        (Err(accepted), Err(error)) => Err(explained(format!("{error}; it accepts {accepted}"))),
        (Err(accepted), Ok(_)) => Err(explained(format!("it accepts {accepted}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_filter_is_explained() {
        for (directives, reason) in [("app_a=loud", "app_a=loud"), ("", "\"\""), ("a=b=c", "a=b=c")] {
            let Err(Error::Invalid(message)) = set(directives) else {
                panic!("{directives:?} is accepted");
            };
            assert!(
                message.contains(reason) && message.contains("such as info,app_a=debug"),
                "{message}"
            );
        }
    }
}
