//! Thresholds for the numbers of a run, or of some of its targets, in the syntax of k6: `p(99)<500`, `rate>990`,
//! `failed{path:/hello}<0.1%`. Pure.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::{
    bad_configuration::BadConfiguration,
    counts::Counts,
    histogram,
    report::LoadReport,
    summary::{Latencies, Summary},
    target::Target,
    target_filter::TargetFilter,
};
use crate::units::{MaxFailed, short, to_f64};

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
    /// The targets that count; `None` for all requests.
    targets: Option<TargetFilter>,
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
    /// Without `given`, a threshold on the failures of all requests replaces the default: the returned maximum then allows
    /// any number.
    #[must_use]
    pub fn max_failed(given: Option<MaxFailed>, thresholds: &[Self]) -> MaxFailed {
        let is_about_failures =
            |threshold: &Self| threshold.metric == Metric::Failed && threshold.targets.is_none();
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

    /// Checks that each threshold applies to at least one target.
    ///
    /// # Errors
    /// [`BadConfiguration`] for a threshold that selects no target.
    pub fn check_targets(thresholds: &[Self], targets: &[Target]) -> Result<(), BadConfiguration> {
        let selects_none = |threshold: &&Self| {
            let filter = threshold.targets.as_ref();
            filter.is_some_and(|filter| !targets.iter().any(|target| filter.selects(target)))
        };
        let Some(threshold) = thresholds.iter().find(selects_none) else {
            return Ok(());
        };
        let targets: Vec<String> = targets
            .iter()
            .map(|target| format!("{} {}", target.method, target.url))
            .collect();
        Err(BadConfiguration(format!(
            "the threshold {threshold} matches no target of this load; the targets are: {}",
            targets.join(", ")
        )))
    }

    /// Returns whether the threshold is an upper bound of a latency.
    #[must_use]
    pub fn limits_latency(&self) -> bool {
        let is_upper_bound = matches!(self.comparison, Comparison::Less | Comparison::LessOrEqual);
        let is_latency = matches!(self.metric, Metric::Percentile(_) | Metric::Mean | Metric::Max);
        is_upper_bound && is_latency
    }

    /// Returns whether the threshold can be checked before the load ends. A rate cannot, because a ramp starts slowly.
    pub(crate) fn is_judged_early(&self) -> bool {
        self.metric != Metric::Rate
    }

    fn observed(&self, report: &LoadReport) -> Option<f64> {
        let selected = match &self.targets {
            Some(filter) => &selected(report, filter),
            None => &Selected {
                requests: report.requests,
                latency_ms: report.latency_ms,
                latencies: report.latencies.clone(),
                rate: report.rates.succeeded,
            },
        };
        let requests = &selected.requests;
        if requests.scheduled == 0 {
            return None;
        }
        let count_or_share = |count: u64| {
            let divisor = if self.is_share { requests.scheduled } else { 1 };
            Some(to_f64(count) / to_f64(divisor))
        };
        match self.metric {
            Metric::Percentile(percentile) => selected.latencies.percentile_ms(percentile),
            Metric::Mean => selected.latency_ms.mean,
            Metric::Max => selected.latency_ms.max,
            Metric::Rate => Some(selected.rate),
            Metric::Failed => count_or_share(requests.failed),
            Metric::Dropped => count_or_share(requests.dropped),
        }
    }
}

/// The measurements that a threshold applies to.
struct Selected {
    requests: Counts,
    latency_ms: Summary,
    latencies: Latencies,
    /// The rate of successful requests.
    rate: f64,
}

/// Returns the measurements of the selected targets together.
fn selected(report: &LoadReport, filter: &TargetFilter) -> Selected {
    let mut requests = Counts::default();
    let mut latencies = histogram::new();
    let targets = report.targets.iter();
    for target in targets.filter(|target| filter.selects(&target.target)) {
        requests.merge(&target.counts);
        histogram::merge(&mut latencies, &target.latencies.0);
    }
    let share = to_f64(requests.succeeded) / to_f64(report.requests.succeeded.max(1));
    Selected {
        requests,
        latency_ms: Summary::from_histogram(&latencies),
        latencies: Latencies(latencies),
        rate: report.rates.succeeded * share,
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
        let (metric, targets) = match metric.strip_suffix('}').and_then(|text| text.split_once('{')) {
            Some((metric, filter)) => (metric, Some(filter.parse()?)),
            None => (metric, None),
        };
        let metric = parse_metric(metric)?;
        let (bound, is_share) = parse_bound(metric, bound)?;
        Ok(Self {
            text: compact,
            metric,
            targets,
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
    fn only_a_threshold_on_all_failures_replaces_the_default_bound() {
        let max_failed = |text: &str| Threshold::max_failed(None, &[text.parse().unwrap()]);
        assert_eq!(max_failed("failed<5%"), MaxFailed::Share(1.0));
        assert_eq!(max_failed("failed{path:/a}<5%"), MaxFailed::Count(0));
        assert_eq!(max_failed("p(99)<5"), MaxFailed::Count(0));
    }

    #[test]
    fn a_threshold_about_no_target_is_rejected_with_the_targets() {
        let targets = ["3 GET http://h/a", "1 PUT http://h/b"].map(|text| text.parse().unwrap());
        let check = |text: &str| Threshold::check_targets(&[text.parse().unwrap()], &targets);
        assert_eq!(check("p(99)<5").map_err(|error| error.0), Ok(()));
        assert_eq!(check("p(99){path:/b}<5").map_err(|error| error.0), Ok(()));
        let error = check("p(99){path:/c}<5").unwrap_err().0;
        assert!(error.contains("p(99){path:/c}<5") && error.contains("GET http://h/a, PUT http://h/b"));
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
            ("p(99){name:a}<5", "use method, path or url"),
            ("p(99){path:/a<5", "p(0) to p(100)"),
            ("fast{path:/a}<5", "p(0) to p(100)"),
        ] {
            let error = text.parse::<Threshold>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
