//! The text format of `/metrics` (<https://prometheus.io/docs/instrumenting/exposition_formats/>).

use std::collections::BTreeMap;

use prom_text_format_parser::{Metric, ScrapeParseError, Type, ValueType, parse_scrape};

/// A sample of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The name of the series, as in `http_request_duration_seconds_count`.
    pub name: String,
    /// The labels. The values are still escaped.
    pub labels: BTreeMap<String, String>,
    /// The value.
    pub value: f64,
}

/// Parses a `/metrics` page. A metric without samples is skipped.
///
/// # Errors
/// If a line does not follow the format. The message shows the line.
pub fn parse(text: &str) -> Result<Vec<Sample>, String> {
    match parse_scrape(text) {
        (_, Some(ScrapeParseError::Parse(error))) => Err(error),
        // The other kind of error is a HELP or TYPE line without samples.
        (metrics, _) => Ok(metrics.iter().flat_map(samples).collect()),
    }
}

/// Returns the sum of all samples of this name. It is 0 without samples.
///
/// # Errors
/// Those of [`parse`].
pub fn sum(text: &str, name: &str) -> Result<f64, String> {
    let samples = parse(text)?;
    let named = samples.iter().filter(|sample| sample.name == name);
    Ok(named.map(|sample| sample.value).sum())
}

/// Returns the value of a series in a `/metrics` page. `series` is `name{label="value"}`, with all of its labels.
#[must_use]
pub fn value(text: &str, series: &str) -> Option<f64> {
    let wanted = parse(&format!("{series} 0")).ok()?.pop()?;
    let mut samples = parse(text).ok()?.into_iter();
    samples
        .find(|sample| sample.name == wanted.name && sample.labels == wanted.labels)
        .map(|sample| sample.value)
}

fn samples(metric: &Metric) -> impl Iterator<Item = Sample> {
    metric.samples.iter().map(|sample| {
        let suffix = match (metric.kind, sample.value.value_type) {
            (Type::Histogram, ValueType::Sample) => "_bucket",
            (_, ValueType::Sum) => "_sum",
            (_, ValueType::Count) => "_count",
            (_, ValueType::Sample) => "",
        };
        let labels = sample.labels.iter();
        Sample {
            name: format!("{}{suffix}", metric.name),
            labels: labels
                .map(|label| (label.key.clone(), label.value.clone()))
                .collect(),
            value: sample.value.value.as_f64(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Sample {
            name: name.to_owned(),
            labels: labels.collect(),
            value,
        }
    }

    #[test]
    fn names_labels_and_values_are_read() {
        let text = "# HELP hits_total Hits { by route }\n# TYPE hits_total counter\n\
                    hits_total{route=\"/a b},=\\\"\"} 3\nhits_total{route=\"/c\"} 1e1 1700000000000\n\
                    # HELP seconds Duration\n# TYPE seconds histogram\n\
                    seconds_bucket{le=\"+Inf\"} 2\nseconds_sum 0.5\nseconds_count 2\nup 1\n";
        let expected = [
            sample("hits_total", &[("route", r#"/a b},=\""#)], 3.0),
            sample("hits_total", &[("route", "/c")], 10.0),
            sample("seconds_bucket", &[("le", "+Inf")], 2.0),
            sample("seconds_sum", &[], 0.5),
            sample("seconds_count", &[], 2.0),
            sample("up", &[], 1.0),
        ];
        assert_eq!(parse(text).unwrap(), expected);
    }

    #[test]
    fn the_samples_of_a_name_are_summed() {
        let text = "a_total{route=\"/b}\"} 3\na_total{route=\"/c\"} 1e1\na_total_created 99\na_totals 99\n";
        assert_eq!(sum(text, "a_total"), Ok(13.0));
        assert_eq!(sum(text, "b_total"), Ok(0.0));
        assert!(sum("not found", "a_total").is_err());
    }

    #[test]
    fn a_value_is_found_by_name_and_labels() {
        let text = "# TYPE seconds histogram\nseconds_bucket{route=\"/a\",le=\"+Inf\"} 2\nseconds_count{route=\"/a\"} 3\n";
        assert_eq!(value(text, r#"seconds_count{route="/a"}"#), Some(3.0));
        assert_eq!(value(text, r#"seconds_bucket{le="+Inf",route="/a"}"#), Some(2.0));
        assert_eq!(value(text, "seconds_count"), None);
        assert_eq!(value(text, r#"seconds_count{route="/b"}"#), None);
    }

    #[test]
    fn a_metric_without_samples_is_skipped() {
        let text =
            "# HELP a_total A\n# TYPE a_total counter\n# HELP b_total B\n# TYPE b_total counter\nb_total 1\n";
        assert_eq!(parse(text).unwrap(), [sample("b_total", &[], 1.0)]);
    }

    #[test]
    fn a_line_that_is_no_sample_is_an_error() {
        assert!(parse("<html>not found</html>\n").is_err());
    }
}
