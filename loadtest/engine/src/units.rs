//! Types for the rates and bounds that users type: `500`, `500/1s`, `30000/1m`, `1%`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

/// A number of requests per period, with the period that the user typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a request per period: 500 for `0.5/1s`.
    thousandths: u64,
    period: Duration,
}

impl Rate {
    /// Creates a rate of `requests` per second.
    ///
    /// # Panics
    /// When `requests` is zero: a rate of 0 has no arrival times.
    #[must_use]
    pub fn per_second(requests: u32) -> Self {
        assert!(requests > 0, "a rate must be above 0");
        Self {
            thousandths: u64::from(requests) * 1000,
            period: Duration::from_secs(1),
        }
    }

    /// Returns the rate in requests per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "below 2^52")]
    pub fn as_per_second(&self) -> f64 {
        self.thousandths as f64 / 1000.0 / self.period.as_secs_f64()
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (count, period) = match text.split_once('/') {
            None => (text, Duration::from_secs(1)),
            Some((count, period)) => {
                // Users write both `500/s` and `500/1s`.
                let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
                    period.to_owned()
                } else {
                    format!("1{period}")
                };
                let parsed = humantime::parse_duration(&period)
                    .map_err(|error| format!("the period after `/` is not a duration: {error}"))?;
                (count, parsed)
            }
        };
        let requests: f64 = count
            .trim()
            .parse()
            .map_err(|_| format!("`{count}` is not a number; write 500 or 500/1s"))?;
        if !requests.is_finite() || requests <= 0.0 {
            return Err("a rate must be above 0".to_owned());
        }
        if period.is_zero() {
            return Err("the period after `/` must be above 0".to_owned());
        }
        if requests > 1e9 {
            return Err("a rate must be at most 1e9 requests per period".to_owned());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1e12, checked above"
        )]
        let thousandths = (requests * 1000.0).round() as u64;
        if thousandths == 0 {
            return Err(
                "the rate is too low for its period; write a longer period, for example 1/1h".to_owned(),
            );
        }
        Ok(Self { thousandths, period })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/s", short(self.as_per_second()))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_per_second())
    }
}

/// The maximum number of failed requests of a successful run: a count, or a share of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailed {
    /// At most this many.
    Count(u64),
    /// At most this share, between 0 and 1.
    Share(f64),
}

impl MaxFailed {
    /// Returns whether `failed` of `scheduled` arrivals is within the bound. A share of 0 arrivals is never within it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
    pub fn allows(&self, failed: u64, scheduled: u64) -> bool {
        match self {
            Self::Count(max) => failed <= *max,
            Self::Share(max) => scheduled > 0 && failed as f64 <= *max * scheduled as f64,
        }
    }
}

impl FromStr for MaxFailed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.ends_with('%') {
            return text.parse().map(|Share(share)| Self::Share(share));
        }
        text.parse()
            .map(Self::Count)
            .map_err(|_| "write a number (10) or a share (0.1%)".to_owned())
    }
}

impl fmt::Display for MaxFailed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(max) => write!(formatter, "{max}"),
            Self::Share(max) => write!(formatter, "{}%", short(max * 100.0)),
        }
    }
}

/// A share between 0 and 1. Users type it in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let percent = text
            .strip_suffix('%')
            .and_then(|percent| percent.trim().parse::<f64>().ok());
        percent
            .filter(|percent| (0.0..=100.0).contains(percent))
            .map(|percent| Self(percent / 100.0))
            .ok_or_else(|| "a share must be between 0% and 100%".to_owned())
    }
}

/// Parses a duration. `0` and `none` mean no limit.
///
/// # Errors
/// When `text` is not a duration.
pub fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    parse_duration_or_zero(text).map(|limit| Limit(Some(limit).filter(|limit| !limit.is_zero())))
}

/// Parses a duration that can be zero.
///
/// # Errors
/// When `text` is not a duration.
pub fn parse_duration_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write for example 500ms, 30s or 5m"))
}

/// Parses a duration above zero, for timeouts and lengths.
///
/// # Errors
/// When `text` is not a duration, or 0.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match parse_duration_or_zero(text)? {
        Duration::ZERO => Err("must be above 0".to_owned()),
        duration => Ok(duration),
    }
}

/// Serializes a duration as seconds.
///
/// # Errors
/// When the serializer fails.
pub fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// An optional upper bound on a duration. A separate type, because clap treats an `Option` as an optional argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

/// Converts a count to a floating-point number.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn to_f64(count: u64) -> f64 {
    count as f64
}

/// Formats a number with at most 2 decimals, or 1 from 100 on, and without trailing zeros: 392, 392.5, 0.04.
#[must_use]
pub fn short(value: f64) -> String {
    let digits = if value.abs() >= 100.0 { 1 } else { 2 };
    let text = format!("{value:.digits$}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_rates_are_parsed() {
        for (text, per_second) in [
            ("500", 500.0),
            ("500/1s", 500.0),
            ("500/s", 500.0),
            ("30/1m", 0.5),
            ("392.5", 392.5),
            ("10/100ms", 100.0),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert!(
                (rate.as_per_second() - per_second).abs() < 1e-9,
                "{text} is {rate}"
            );
        }
    }

    #[test]
    fn invalid_rates_are_rejected() {
        for text in ["0", "-1", "many", "", "500/0s", "500/", "nan", "inf", "1e12"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?} was accepted as a rate");
        }
    }

    #[test]
    fn failures_are_allowed_by_count_or_share() {
        assert!(!MaxFailed::Count(0).allows(1, 100));
        assert!("1%".parse::<MaxFailed>().unwrap().allows(1, 100));
        assert!(!"1%".parse::<MaxFailed>().unwrap().allows(2, 100));
        assert!(
            !"100%".parse::<MaxFailed>().unwrap().allows(0, 0),
            "a share of 0 requests is never within the bound"
        );
        assert!("101%".parse::<MaxFailed>().is_err());
    }

    #[test]
    fn numbers_have_no_trailing_zeros() {
        assert_eq!(
            ["392", "392.5", "0.04", "0"].map(str::to_owned),
            [short(392.0), short(392.5), short(0.04), short(0.0)]
        );
    }
}
