//! One parser for each kind of value. The error of a parser is the description of the accepted values, so that a
//! message to the operator never says only "invalid".

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

/// The longest accepted duration. No setting needs more than a day, and the sum of an instant and a day cannot
/// overflow.
const MAX_DURATION: Duration = Duration::from_hours(24);

/// An address with its port.
///
/// # Errors
/// The accepted values, as for all parsers of this module.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "an IP address and a port such as 127.0.0.1:5000 or [::]:5000".to_owned())
}

/// The path of a file.
///
/// # Errors
/// The accepted values.
pub fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("the path of a file".to_owned());
    }
    Ok(text.into())
}

/// A duration, 0 included.
///
/// # Errors
/// The accepted values.
pub fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|duration| *duration <= MAX_DURATION)
        .ok_or_else(|| "a duration of at most a day such as 500ms, 5s or 1m 30s".to_owned())
}

/// A duration above 0.
///
/// # Errors
/// The accepted values.
pub fn positive_duration(text: &str) -> Result<Duration, String> {
    duration(text)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "a duration above 0 and of at most a day such as 500ms, 5s or 1m 30s".to_owned())
}

/// A whole number, 0 included.
///
/// # Errors
/// The accepted values.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "a whole number such as 0 or 1024".to_owned())
}

/// A whole number above 0.
///
/// # Errors
/// The accepted values.
pub fn positive_count(text: &str) -> Result<usize, String> {
    let number: Option<usize> = text.parse().ok();
    number
        .filter(|number| *number > 0)
        .ok_or_else(|| "a whole number above 0 such as 1024".to_owned())
}

/// `true` or `false`, and nothing else: a typing error must not enable a setting.
///
/// # Errors
/// The accepted values.
pub fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

/// Text for a header field: visible ASCII, at most 253 characters, which is the longest name of a pod.
///
/// # Errors
/// The accepted values.
pub fn header_text(text: &str) -> Result<String, String> {
    let fits = (1..=253).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| text.to_owned())
        .ok_or_else(|| "1 to 253 visible ASCII characters, such as a pod's name".to_owned())
}

/// The directives of tracing-subscriber's `EnvFilter`.
///
/// # Errors
/// The accepted values.
pub fn log_filter(text: &str) -> Result<String, String> {
    let accepted =
        "a level (off, error, warn, info, debug, trace) or levels by module such as info,app_a=debug";
    if text.trim().is_empty() || EnvFilter::try_new(text).is_err() {
        return Err(accepted.to_owned());
    }
    Ok(text.to_owned())
}
