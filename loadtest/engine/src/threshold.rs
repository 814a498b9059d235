//! Thresholds for the numbers of a run, in the syntax of k6: `p(99)<500`, `rate>990`, `failed<0.1%`. Pure.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::report::LoadReport;
use crate::units::{MaxFailed, short};

/// The number that a threshold compares.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Metric {
    /// A percentile of the latency, in milliseconds.
    Percentile(f64),
    /// The mean latency, in milliseconds.
    Mean,
    /// The longest latency, in milliseconds.
    Max,
    /// The rate of successful requests, in requests per second.
    Rate,
    /// Failed requests, including dropped arrivals: their number, or their share of all arrivals.
    Failed,
    /// Dropped arrivals: their number, or their share of all arrivals.
    Dropped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// A bound on one number of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    text: String,
    metric: Metric,
    comparison: Comparison,
    bound: f64,
    /// Whether the bound is a share of all arrivals, and not a number.
    is_share: bool,
}

/// A threshold and its result.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ThresholdReport {
    /// The threshold as the user wrote it.
    #[schemars(with = "String")]
    pub threshold: Threshold,
    /// Whether the threshold holds. Without measurements, it does not hold.
    pub holds: bool,
    /// The observed value: milliseconds, requests per second, a number of requests, or a share between 0 and 1.
    pub observed: Option<f64>,
}

impl Threshold {
    /// Returns the maximum number of failed requests: `given`, or 0 by default.
    ///
    /// Without `given`, a threshold on failures replaces the default: the returned maximum then allows any number.
    #[must_use]
    pub fn max_failed(given: Option<MaxFailed>, thresholds: &[Self]) -> MaxFailed {
        let is_about_failures = |threshold: &Self| threshold.metric == Metric::Failed;
        given.unwrap_or_else(|| {
            if thresholds.iter().any(is_about_failures) {
                MaxFailed::Share(1.0)
            } else {
                MaxFailed::Count(0)
            }
        })
    }

    /// Checks the threshold against a report.
    #[must_use]
    pub fn check(&self, report: &LoadReport) -> ThresholdReport {
        let observed = self.observed(report);
        let holds = observed.is_some_and(|observed| match self.comparison {
            Comparison::Less => observed < self.bound,
            Comparison::LessOrEqual => observed <= self.bound,
            Comparison::More => observed > self.bound,
            Comparison::MoreOrEqual => observed >= self.bound,
        });
        ThresholdReport {
            threshold: self.clone(),
            holds,
            observed,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of requests stay far below 2^52"
    )]
    fn observed(&self, report: &LoadReport) -> Option<f64> {
        let requests = &report.requests;
        if requests.scheduled == 0 {
            return None;
        }
        let count_or_share = |count: u64| {
            let divisor = if self.is_share {
                requests.scheduled as f64
            } else {
                1.0
            };
            Some(count as f64 / divisor)
        };
        match self.metric {
            Metric::Percentile(percentile) => report.latencies.percentile_ms(percentile),
            Metric::Mean => report.latency_ms.mean,
            Metric::Max => report.latency_ms.max,
            Metric::Rate => Some(report.rates.succeeded),
            Metric::Failed => count_or_share(requests.failed),
            Metric::Dropped => count_or_share(requests.dropped),
        }
    }
}

impl ThresholdReport {
    /// Returns the threshold and the observed value as text.
    #[must_use]
    pub fn describe(&self) -> String {
        format!("{}: {}", self.threshold, self.observed_text())
    }

    /// Returns the observed value with its unit.
    #[must_use]
    pub fn observed_text(&self) -> String {
        let Threshold { metric, is_share, .. } = &self.threshold;
        match (self.observed, metric) {
            (None, _) => "nothing was measured".to_owned(),
            (Some(value), Metric::Percentile(_) | Metric::Mean | Metric::Max) => {
                format!("{} ms", short(value))
            }
            (Some(value), Metric::Rate) => format!("{} requests/s", short(value)),
            (Some(value), _) if *is_share => format!("{} %", short(value * 100.0)),
            (Some(value), _) => short(value),
        }
    }
}

impl fmt::Display for Threshold {
    /// Writes the threshold as the user wrote it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let at = compact.find(['<', '>']).ok_or_else(|| {
            format!("`{text}` contains no comparison; write 'p(99)<500', 'rate>990' or 'failed<0.1%'")
        })?;
        let (metric, rest) = compact.split_at(at);
        let (comparison, bound) = match (rest.strip_prefix("<="), rest.strip_prefix(">=")) {
            (Some(bound), _) => (Comparison::LessOrEqual, bound),
            (_, Some(bound)) => (Comparison::MoreOrEqual, bound),
            _ if rest.starts_with('<') => (Comparison::Less, &rest[1..]),
            _ => (Comparison::More, &rest[1..]),
        };
        let metric = parse_metric(metric)?;
        let (bound, is_share) = parse_bound(metric, bound)?;
        Ok(Self {
            text: compact,
            metric,
            comparison,
            bound,
            is_share,
        })
    }
}

fn parse_metric(text: &str) -> Result<Metric, String> {
    match text {
        "avg" | "mean" => return Ok(Metric::Mean),
        "med" | "median" => return Ok(Metric::Percentile(50.0)),
        "max" => return Ok(Metric::Max),
        "rate" => return Ok(Metric::Rate),
        "failed" => return Ok(Metric::Failed),
        "dropped" => return Ok(Metric::Dropped),
        _ => {}
    }
    let percentile = text.strip_prefix("p(").and_then(|rest| rest.strip_suffix(')'));
    percentile
        .and_then(|percentile| percentile.parse().ok())
        .filter(|percentile| (0.0..=100.0).contains(percentile))
        .map(Metric::Percentile)
        .ok_or_else(|| {
            format!("`{text}` is not a metric; use p(0) to p(100), mean, med, max, rate, failed or dropped")
        })
}

/// Parses the bound, and returns whether it is a share.
///
/// The bound is in milliseconds for latencies (`500`, `500ms`, `2s`), and a number or a share (`0.1%`) for counts.
fn parse_bound(metric: Metric, text: &str) -> Result<(f64, bool), String> {
    let number = |text: &str| {
        text.parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number >= 0.0)
            .ok_or_else(|| format!("`{text}` is not a number of at least 0"))
    };
    match metric {
        Metric::Percentile(_) | Metric::Mean | Metric::Max => {
            if text.ends_with(|last: char| last.is_ascii_alphabetic()) {
                let duration =
                    humantime::parse_duration(text).map_err(|error| format!("`{text}`: {error}"))?;
                return Ok((duration.as_secs_f64() * 1000.0, false));
            }
            Ok((number(text)?, false))
        }
        Metric::Rate => Ok((number(text)?, false)),
        Metric::Failed | Metric::Dropped => match text.strip_suffix('%') {
            Some(percent) => Ok((number(percent)? / 100.0, true)),
            None => Ok((number(text)?, false)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Metric, Comparison, f64, bool) {
        let threshold: Threshold = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        (
            threshold.metric,
            threshold.comparison,
            threshold.bound,
            threshold.is_share,
        )
    }

    #[test]
    fn valid_thresholds_are_parsed() {
        for (text, expected) in [
            (
                "p(99)<500",
                (Metric::Percentile(99.0), Comparison::Less, 500.0, false),
            ),
            (
                "p(99.9) <= 2s",
                (Metric::Percentile(99.9), Comparison::LessOrEqual, 2000.0, false),
            ),
            (
                "med<20ms",
                (Metric::Percentile(50.0), Comparison::Less, 20.0, false),
            ),
            ("avg<20", (Metric::Mean, Comparison::Less, 20.0, false)),
            ("rate>990", (Metric::Rate, Comparison::More, 990.0, false)),
            (
                "rate>=990.5",
                (Metric::Rate, Comparison::MoreOrEqual, 990.5, false),
            ),
            ("failed<0.1%", (Metric::Failed, Comparison::Less, 0.001, true)),
            ("failed<=3", (Metric::Failed, Comparison::LessOrEqual, 3.0, false)),
        ] {
            assert_eq!(parsed(text), expected, "{text}");
        }
    }

    #[test]
    fn errors_of_invalid_thresholds_show_valid_ones() {
        for (text, expected) in [
            ("p(99)", "contains no comparison"),
            ("http://h/", "contains no comparison"),
            ("p(101)<5", "p(0) to p(100)"),
            ("p99<5", "p(0) to p(100)"),
            ("speed>5", "p(0) to p(100)"),
            ("rate>", "not a number"),
            ("rate>-1", "not a number"),
            ("rate>5%", "not a number"),
            ("p(99)<5parsecs", "5parsecs"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
