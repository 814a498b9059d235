//! The request counters in `/metrics` of a pod, and how much they grew. Pure functions.

use wiring::exposition;

use super::proportion::Proportion;

/// The histogram of response times.
const DURATION: &str = "http_request_duration_seconds";

/// The status of a request whose client disconnected before the response.
const CANCELLED: u16 = 499;

/// What a pod counted since its start, or in a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Counters {
    /// All requests.
    pub(super) requests: f64,
    /// Those that the service answered with a status of 500 or more, or whose client did not wait for the response.
    pub(super) failed: f64,
    /// Those that the service refused, with another status of 400 or more.
    pub(super) refused: f64,
    /// The sum of all response times, in seconds.
    pub(super) seconds: f64,
    /// The number of response times.
    pub(super) timed: f64,
    /// For each upper bound in seconds, ascending: the number of response times up to it. Without the bound of infinity.
    pub(super) buckets: Vec<(f64, f64)>,
}

impl Counters {
    /// Reads the counters from a page. `series` counts requests, and has the label `status`.
    ///
    /// # Errors
    /// If the page is none, or lacks a series.
    pub(super) fn parse(page: &str, series: &str) -> Result<Self, String> {
        let samples = exposition::parse(page)?;
        let mut counters = Self::default();
        let (mut counts, mut times) = (false, false);
        for sample in samples {
            let value = sample.value;
            if sample.name == series {
                counts = true;
                counters.requests += value;
                let status = sample.labels.get("status").and_then(|text| text.parse().ok());
                match status {
                    Some(CANCELLED | 500..) => counters.failed += value,
                    Some(400..) => counters.refused += value,
                    _ => {}
                }
            }
            let Some(part) = sample.name.strip_prefix(DURATION) else {
                continue;
            };
            match part {
                "_sum" => counters.seconds += value,
                "_count" => {
                    times = true;
                    counters.timed += value;
                }
                "_bucket" => {
                    let bound = sample.labels.get("le").and_then(|text| text.parse::<f64>().ok());
                    if let Some(bound) = bound.filter(|bound| bound.is_finite()) {
                        counters.add_bucket(bound, value);
                    }
                }
                _ => {}
            }
        }
        for (has, name) in [(counts, series), (times, DURATION)] {
            if !has {
                return Err(format!("there is no series {name}"));
            }
        }
        Ok(counters)
    }

    fn add_bucket(&mut self, bound: f64, count: f64) {
        let place = self
            .buckets
            .binary_search_by(|(other, _)| other.total_cmp(&bound));
        match place {
            Ok(place) => self.buckets[place].1 += count,
            Err(place) => self.buckets.insert(place, (bound, count)),
        }
    }

    /// Returns the growth since an earlier reading; `None` if a counter has become smaller, because the process restarted.
    pub(super) fn since(&self, earlier: &Self) -> Option<Self> {
        if self.requests < earlier.requests || self.timed < earlier.timed {
            return None;
        }
        let mut grown = self.clone();
        grown.add(&Self {
            requests: -earlier.requests,
            failed: -earlier.failed,
            refused: -earlier.refused,
            seconds: -earlier.seconds,
            timed: -earlier.timed,
            buckets: earlier
                .buckets
                .iter()
                .map(|(bound, count)| (*bound, -count))
                .collect(),
        });
        Some(grown)
    }

    /// Adds what another pod counted, or what this one did in another second.
    pub(super) fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        self.refused += other.refused;
        self.seconds += other.seconds;
        self.timed += other.timed;
        for (bound, count) in &other.buckets {
            self.add_bucket(*bound, *count);
        }
    }

    /// Returns the requests that the service failed to answer.
    pub(super) fn failures(&self) -> Proportion {
        proportion(self.failed, self.requests)
    }

    /// Returns the requests that the service refused.
    pub(super) fn refusals(&self) -> Proportion {
        proportion(self.refused, self.requests)
    }

    /// Returns the requests that took longer than a bound of the histogram; `None` if it is no bound.
    pub(super) fn slower_than(&self, bound: f64) -> Option<Proportion> {
        let place = self
            .buckets
            .binary_search_by(|(other, _)| other.total_cmp(&bound));
        let within = self.buckets.get(place.ok()?)?.1;
        Some(proportion(self.timed - within, self.timed))
    }

    /// Returns the average response time in milliseconds; `None` without a request.
    pub(super) fn average_ms(&self) -> Option<f64> {
        (self.timed > 0.0).then(|| self.seconds / self.timed * 1000.0)
    }
}

/// A pod is read while it counts, so a part may exceed the whole by a request.
fn proportion(part: f64, all: f64) -> Proportion {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count that is not negative"
    )]
    let count = |value: f64| value.max(0.0).round() as u64;
    let all = count(all);
    Proportion {
        part: count(part).min(all),
        all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# TYPE http_requests_total counter\n\
        http_requests_total{method=\"GET\",route=\"/hello\",status=\"200\"} 90\n\
        http_requests_total{method=\"PUT\",route=\"/jobs\",status=\"401\"} 6\n\
        http_requests_total{method=\"PUT\",route=\"/jobs\",status=\"499\"} 1\n\
        http_requests_total{method=\"PUT\",route=\"/jobs\",status=\"504\"} 3\n\
        # TYPE http_request_duration_seconds histogram\n\
        http_request_duration_seconds_bucket{route=\"/hello\",le=\"0.001\"} 80\n\
        http_request_duration_seconds_bucket{route=\"/hello\",le=\"1\"} 90\n\
        http_request_duration_seconds_bucket{route=\"/hello\",le=\"+Inf\"} 90\n\
        http_request_duration_seconds_sum{route=\"/hello\"} 1\n\
        http_request_duration_seconds_count{route=\"/hello\"} 90\n\
        http_request_duration_seconds_bucket{route=\"/jobs\",le=\"0.001\"} 0\n\
        http_request_duration_seconds_bucket{route=\"/jobs\",le=\"1\"} 7\n\
        http_request_duration_seconds_bucket{route=\"/jobs\",le=\"+Inf\"} 10\n\
        http_request_duration_seconds_sum{route=\"/jobs\"} 9\n\
        http_request_duration_seconds_count{route=\"/jobs\"} 10\n";

    fn parse(page: &str) -> Result<Counters, String> {
        Counters::parse(page, "http_requests_total")
    }

    #[test]
    fn the_series_of_all_routes_are_added() {
        let counters = parse(PAGE).unwrap();
        let expected = |part| Some(Proportion { part, all: 100 });
        assert_eq!(Some(counters.failures()), expected(4));
        assert_eq!(Some(counters.refusals()), expected(6));
        assert_eq!(counters.slower_than(0.001), expected(20));
        assert_eq!(counters.slower_than(1.0), expected(3));
        assert_eq!(counters.slower_than(0.5), None, "no bound");
        assert_eq!(counters.average_ms(), Some(100.0));
    }

    #[test]
    fn the_growth_is_the_difference_and_a_restart_has_none() {
        let first = parse(PAGE).unwrap();
        let later = parse(&PAGE.replace("} 90\n", "} 100\n")).unwrap();
        let grown = later.since(&first).unwrap();
        assert_eq!(grown.failures(), Proportion { part: 0, all: 10 });
        assert_eq!(grown.slower_than(1.0), Some(Proportion { part: 0, all: 10 }));
        assert_eq!(first.since(&later), None);
    }

    #[test]
    fn a_page_without_a_series_names_it() {
        for (from, to, missing) in [
            ("http_requests_total", "requests_total", "http_requests_total"),
            (
                "http_request_duration_seconds",
                "duration",
                "http_request_duration_seconds",
            ),
        ] {
            let error = parse(&PAGE.replace(from, to)).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
        assert!(parse("<html>\n").is_err());
    }
}
