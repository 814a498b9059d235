//! What people type for rates and bounds, as types: `500`, `500/1s`, `30000/1m`, `1%`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Serialize, Serializer};

/// A number of requests for each period, kept as it was typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Thousandths of a request in each period: `0.5/1s` is 500.
    thousandths: u64,
    period: Duration,
}

impl Rate {
    /// A rate of whole requests a second.
    ///
    /// # Panics
    /// When `requests` is zero: a rate of nothing has no arrival times.
    #[must_use]
    pub fn per_second(requests: u32) -> Self {
        assert!(requests > 0, "a rate must be above 0");
        Self {
            thousandths: u64::from(requests) * 1000,
            period: Duration::from_secs(1),
        }
    }

    /// Requests a second.
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
                // `500/s` as well as `500/1s`: people write both.
                let period = if period.starts_with(|first: char| first.is_ascii_digit()) {
                    period.to_owned()
                } else {
                    format!("1{period}")
                };
                let parsed = humantime::parse_duration(&period)
                    .map_err(|error| format!("the period after `/` is no duration: {error}"))?;
                (count, parsed)
            }
        };
        let requests: f64 = count
            .trim()
            .parse()
            .map_err(|_| format!("`{count}` is no number; write 500 or 500/1s"))?;
        if !requests.is_finite() || requests <= 0.0 {
            return Err("a rate must be above 0".to_owned());
        }
        if period.is_zero() {
            return Err("the period after `/` must be above 0".to_owned());
        }
        if requests > 1e9 {
            return Err("a rate above 1e9 is not one that this machine can hold".to_owned());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1e12, checked above"
        )]
        let thousandths = (requests * 1000.0).round() as u64;
        if thousandths == 0 {
            return Err("give slow rates with a longer period: 1/1h".to_owned());
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

/// How many requests may fail before the run does: a number, or a share of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailed {
    /// At most this many.
    Count(u64),
    /// At most this share, between 0 and 1.
    Share(f64),
}

impl MaxFailed {
    /// Whether `failed` of `scheduled` arrivals is still within the bound. Nothing sent is never within it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share; counts stay far below 2^52")]
    pub fn allows(&self, failed: u64, scheduled: u64) -> bool {
        match self {
            Self::Count(most) => failed <= *most,
            Self::Share(most) => scheduled > 0 && failed as f64 <= *most * scheduled as f64,
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
            Self::Count(most) => write!(formatter, "{most}"),
            Self::Share(most) => write!(formatter, "{}%", short(most * 100.0)),
        }
    }
}

/// A part of a whole, written in percent; between 0 and 1.
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
            .ok_or_else(|| "a share lies between 0% and 100%".to_owned())
    }
}

/// A duration where `0` or `none` means that there is no limit.
///
/// # Errors
/// When `text` is not a duration.
pub fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    parse_duration_or_zero(text).map(|limit| Limit(Some(limit).filter(|limit| !limit.is_zero())))
}

/// A duration that may be zero.
///
/// # Errors
/// When `text` is not a duration.
pub fn parse_duration_or_zero(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write 500ms, 30s, 5m"))
}

/// A duration above zero, for timeouts and lengths.
///
/// # Errors
/// When `text` is not a duration, or 0.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match parse_duration_or_zero(text)? {
        Duration::ZERO => Err("must be above 0".to_owned()),
        duration => Ok(duration),
    }
}

/// A duration in JSON.
///
/// # Errors
/// When the serializer fails.
pub fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

/// An optional upper bound on a time; clap needs it to be a type of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub Option<Duration>);

/// A count to calculate with.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
pub fn to_f64(count: u64) -> f64 {
    count as f64
}

/// A number without needless decimals: 392, 392.5, 0.04.
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
    fn rates_as_people_write_them() {
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
    fn a_rate_that_cannot_be_held_is_refused() {
        for text in ["0", "-1", "many", "", "500/0s", "500/", "nan", "inf", "1e12"] {
            assert!(text.parse::<Rate>().is_err(), "{text:?} was taken for a rate");
        }
    }

    #[test]
    fn failures_allowed_by_number_or_share() {
        assert!(!MaxFailed::Count(0).allows(1, 100));
        assert!("1%".parse::<MaxFailed>().unwrap().allows(1, 100));
        assert!(!"1%".parse::<MaxFailed>().unwrap().allows(2, 100));
        assert!(
            !"100%".parse::<MaxFailed>().unwrap().allows(0, 0),
            "no request at all fails every bound"
        );
        assert!("101%".parse::<MaxFailed>().is_err());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            ["392", "392.5", "0.04", "0"].map(str::to_owned),
            [short(392.0), short(392.5), short(0.04), short(0.0)]
        );
    }
}
