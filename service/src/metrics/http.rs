//! Metrics of answered requests. A request in flight is a value: dropped before its answer, it counts as cancelled.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::{LATENCY_BUCKETS, register};

/// The route of a request that matched none. One constant, or every scanner would make new series.
pub const UNMATCHED: &str = "unmatched";

/// The status of a request whose client went away before the answer: nginx's 499, which no server sends.
const CANCELLED: &str = "499";

/// Values of the label `method`; the last stands for anything that is not a standard method.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER",
];

/// A route that the service answers: its series exist at 0 before the first request, or that request's rate is lost.
/// What is asked of a route that is not known counts as [`UNMATCHED`].
#[derive(Debug, Clone, Copy)]
pub struct KnownRoute {
    /// The path, which has no parameters: it is compared with that of each request.
    pub path: &'static str,
    /// The methods it answers with 200.
    pub methods: &'static [&'static str],
}

/// What both services measure of the requests they answer. They are kept for as long as the process lives: a count of
/// their owners would be one more thing that all threads write to at each request.
#[derive(Debug, Clone, Copy)]
pub struct HttpMetrics(&'static Inner);

#[derive(Debug)]
struct Inner {
    /// Requests answered, by method, matched route and status; 499 is a request whose client went away
    http_requests_total: IntCounterVec,
    /// Seconds from a request's head to its answer's head, by method and matched route
    http_request_duration_seconds: HistogramVec,
    /// Requests being answered now
    http_requests_in_flight: IntGauge,
    routes: Vec<Route>,
}

/// The series of one route by method. Looking them up by their labels for each request would cost more than the
/// routes themselves.
#[derive(Debug)]
struct Route {
    path: &'static str,
    by_method: [OnceLock<Series>; METHODS.len()],
}

#[derive(Debug)]
struct Series {
    duration: Histogram,
    /// The counter of status 200 where the route answers this method with it.
    ok: Option<IntCounter>,
}

impl HttpMetrics {
    /// Registers the metrics with a series at 0 for the success of each known route.
    ///
    /// # Panics
    /// When a path has parameters: a programming error that every start of the service would show.
    #[must_use]
    pub fn new(registry: &Registry, known: &[KnownRoute]) -> Self {
        let total = Opts::new(
            "http_requests_total",
            "Requests answered, by method, matched route and status; 499 is a request whose client went away",
        );
        let duration = HistogramOpts::new(
            "http_request_duration_seconds",
            "Seconds from a request's head to its answer's head, by method and matched route",
        )
        .buckets(LATENCY_BUCKETS.to_vec());
        let in_flight = IntGauge::new("http_requests_in_flight", "Requests being answered now");
        let unmatched = KnownRoute {
            path: UNMATCHED,
            methods: &[],
        };
        let inner = Inner {
            http_requests_total: register(
                registry,
                IntCounterVec::new(total, &["method", "route", "status"]),
            ),
            http_request_duration_seconds: register(
                registry,
                HistogramVec::new(duration, &["method", "route"]),
            ),
            http_requests_in_flight: register(registry, in_flight),
            routes: known.iter().chain([&unmatched]).map(Route::new).collect(),
        };
        for route in known {
            assert!(!route.path.contains('{'), "{} has parameters", route.path);
            for method in route.methods {
                let (route, method) = inner.indices(route.path, method);
                inner.series(route, method, true);
            }
        }
        Self(Box::leak(Box::new(inner)))
    }

    /// Requests that are being answered now.
    #[must_use]
    pub fn in_flight(self) -> i64 {
        self.0.http_requests_in_flight.get()
    }

    /// Starts to measure a request for `path`.
    pub(crate) fn start(self, method: &Method, path: &str) -> RequestTimer {
        let (route, method) = self.0.indices(path, method.as_str());
        self.0.http_requests_in_flight.inc();
        RequestTimer {
            metrics: self.0,
            route,
            method,
            started: Instant::now(),
            done: false,
        }
    }
}

impl Inner {
    fn indices(&self, path: &str, method: &str) -> (usize, usize) {
        let unmatched = self.routes.len() - 1;
        let known = self.routes.iter().position(|route| route.path == path);
        let method = METHODS.iter().position(|known| *known == method);
        (known.unwrap_or(unmatched), method.unwrap_or(METHODS.len() - 1))
    }

    fn series(&self, route: usize, method: usize, answers_ok: bool) -> &Series {
        let Route { path, by_method } = &self.routes[route];
        by_method[method].get_or_init(|| Series {
            duration: self
                .http_request_duration_seconds
                .with_label_values(&[METHODS[method], path]),
            ok: answers_ok.then(|| {
                self.http_requests_total
                    .with_label_values(&[METHODS[method], path, "200"])
            }),
        })
    }

    fn count(&self, route: usize, method: usize, status: &str, ok: bool, elapsed: Duration) {
        let series = self.series(route, method, false);
        series.duration.observe(elapsed.as_secs_f64());
        match &series.ok {
            Some(counter) if ok => counter.inc(),
            _ => self
                .http_requests_total
                .with_label_values(&[METHODS[method], self.routes[route].path, status])
                .inc(),
        }
    }
}

impl Route {
    fn new(known: &KnownRoute) -> Self {
        Self {
            path: known.path,
            by_method: [const { OnceLock::new() }; METHODS.len()],
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(crate) struct RequestTimer {
    metrics: &'static Inner,
    route: usize,
    method: usize,
    started: Instant,
    done: bool,
}

/// What a log line says of a request that was measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) elapsed: Duration,
}

impl RequestTimer {
    /// The request was answered with `status`.
    pub(crate) fn finish(mut self, status: StatusCode) -> Measured {
        self.done = true;
        let elapsed = self.started.elapsed();
        self.metrics.count(
            self.route,
            self.method,
            status.as_str(),
            status == StatusCode::OK,
            elapsed,
        );
        Measured {
            method: METHODS[self.method],
            route: self.metrics.routes[self.route].path,
            elapsed,
        }
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        self.metrics.http_requests_in_flight.dec();
        if !self.done {
            self.metrics
                .count(self.route, self.method, CANCELLED, false, self.started.elapsed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text;

    const KNOWN: [KnownRoute; 1] = [KnownRoute {
        path: "/hello",
        methods: &["GET", "HEAD"],
    }];

    fn line<'a>(text: &'a str, start: &str) -> Option<&'a str> {
        text.lines()
            .find_map(|line| line.strip_prefix(start))
            .map(str::trim)
    }

    #[test]
    fn known_routes_are_at_0_before_the_first_request() {
        let registry = Registry::new();
        let _metrics = HttpMetrics::new(&registry, &KNOWN);
        let text = text(&registry);
        for method in ["GET", "HEAD"] {
            let counter = format!(r#"http_requests_total{{method="{method}",route="/hello",status="200"}}"#);
            assert_eq!(line(&text, &counter), Some("0"), "{text}");
            let count = format!(r#"http_request_duration_seconds_count{{method="{method}",route="/hello"}}"#);
            assert_eq!(line(&text, &count), Some("0"), "{text}");
        }
        assert_eq!(line(&text, "http_requests_in_flight "), Some("0"));
    }

    #[test]
    fn an_unfinished_request_counts_as_499_and_leaves_the_gauge() {
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry, &KNOWN);
        let timer = metrics.start(&Method::GET, "/hello");
        assert_eq!(metrics.in_flight(), 1);
        drop(timer);
        assert_eq!(metrics.in_flight(), 0);
        let cancelled = r#"http_requests_total{method="GET",route="/hello",status="499"}"#;
        assert_eq!(line(&text(&registry), cancelled), Some("1"));
    }

    #[test]
    fn unknown_methods_and_routes_share_one_series() {
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry, &KNOWN);
        for method in ["BREW", "PROPFIND"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            metrics.start(&method, "/nowhere").finish(StatusCode::NOT_FOUND);
        }
        let series = r#"http_requests_total{method="OTHER",route="unmatched",status="404"}"#;
        assert_eq!(line(&text(&registry), series), Some("2"));
    }
}
