//! Metrics of requests. [`RequestTimer`] represents a request in flight. Dropping it before the response counts the
//! request as cancelled.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::http::{Method, StatusCode};
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use super::{LATENCY_BUCKETS, register};

/// The label `route` of a request that matches no route. With the path as the label, each scanner would create new
/// series.
pub const UNMATCHED: &str = "unmatched";

/// The label `status` of a request whose client disconnects before the response: 499, as in nginx. No server sends it.
const CANCELLED: &str = "499";

/// The values of the label `method`. The last one represents every method that is not a standard method.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "OTHER",
];

/// A route of the service. Its series exist at 0 before the first request; otherwise Prometheus misses the first
/// increase. A request for any other path counts as [`UNMATCHED`].
#[derive(Debug, Clone, Copy)]
pub struct KnownRoute {
    /// The path, without parameters. A request matches if its path is equal.
    pub path: &'static str,
    /// The methods to which the route responds 200.
    pub methods: &'static [&'static str],
}

/// The request metrics of both services. Leaked to avoid `Arc` reference-count contention.
#[derive(Debug, Clone, Copy)]
pub struct HttpMetrics(&'static Inner);

#[derive(Debug)]
struct Inner {
    /// Completed requests, by method, matched route and status
    http_requests_total: IntCounterVec,
    /// Seconds from the head of a request to the head of its response, by method and matched route
    http_request_duration_seconds: HistogramVec,
    /// Requests in flight
    http_requests_in_flight: IntGauge,
    routes: Vec<Route>,
}

/// The series of one route, by method. A lookup by labels for each request would cost more than the handlers do.
#[derive(Debug)]
struct Route {
    path: &'static str,
    by_method: [OnceLock<Series>; METHODS.len()],
}

#[derive(Debug)]
struct Series {
    duration: Histogram,
    /// The counter of status 200. `None` if the route does not respond 200 to this method.
    ok: Option<IntCounter>,
}

impl HttpMetrics {
    /// Registers the metrics, with a series at 0 for status 200 of each known route and method.
    ///
    /// # Panics
    /// When a path has parameters. This is a programming error that fails every start of the service.
    #[must_use]
    pub fn new(registry: &Registry, known: &[KnownRoute]) -> Self {
        let total = Opts::new(
            "http_requests_total",
            "Completed requests, by method, matched route and status; 499: the client disconnected",
        );
        let duration = HistogramOpts::new(
            "http_request_duration_seconds",
            "Seconds from the head of a request to the head of its response, by method and matched route",
        )
        .buckets(LATENCY_BUCKETS.to_vec());
        let in_flight = IntGauge::new("http_requests_in_flight", "Requests in flight");
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

    /// Returns the number of requests in flight.
    #[must_use]
    pub fn in_flight(self) -> i64 {
        self.0.http_requests_in_flight.get()
    }

    /// Counts a request for `path` as in flight, and starts its timer.
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

    fn series(&self, route: usize, method: usize, responds_200: bool) -> &Series {
        let Route { path, by_method } = &self.routes[route];
        by_method[method].get_or_init(|| Series {
            duration: self
                .http_request_duration_seconds
                .with_label_values(&[METHODS[method], path]),
            ok: responds_200.then(|| {
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

/// A request in flight. Dropping it without [`RequestTimer::finish`] counts the request as cancelled.
#[derive(Debug)]
pub(crate) struct RequestTimer {
    metrics: &'static Inner,
    route: usize,
    method: usize,
    started: Instant,
    done: bool,
}

/// The measurement of a completed request, for the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measurement {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) elapsed: Duration,
}

impl RequestTimer {
    /// The method, as the label of the metrics.
    pub(crate) fn method(&self) -> &'static str {
        METHODS[self.method]
    }

    /// The route, as the label of the metrics.
    pub(crate) fn route(&self) -> &'static str {
        self.metrics.routes[self.route].path
    }

    /// Counts the request as completed with `status`.
    pub(crate) fn finish(mut self, status: StatusCode) -> Measurement {
        self.done = true;
        let elapsed = self.started.elapsed();
        self.metrics.count(
            self.route,
            self.method,
            status.as_str(),
            status == StatusCode::OK,
            elapsed,
        );
        Measurement {
            method: self.method(),
            route: self.route(),
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
    use wiring::exposition::value;

    const KNOWN: [KnownRoute; 1] = [KnownRoute {
        path: "/hello",
        methods: &["GET", "HEAD"],
    }];

    #[test]
    fn known_routes_have_series_at_0_before_the_first_request() {
        let registry = Registry::new();
        let _metrics = HttpMetrics::new(&registry, &KNOWN);
        let text = text(&registry);
        for method in ["GET", "HEAD"] {
            let counter = format!(r#"http_requests_total{{method="{method}",route="/hello",status="200"}}"#);
            assert_eq!(value(&text, &counter), Some(0.0), "{text}");
            let count = format!(r#"http_request_duration_seconds_count{{method="{method}",route="/hello"}}"#);
            assert_eq!(value(&text, &count), Some(0.0), "{text}");
        }
        assert_eq!(value(&text, "http_requests_in_flight"), Some(0.0));
    }

    #[test]
    fn a_dropped_request_counts_as_499_and_is_no_longer_in_flight() {
        let registry = Registry::new();
        let metrics = HttpMetrics::new(&registry, &KNOWN);
        let timer = metrics.start(&Method::GET, "/hello");
        assert_eq!(metrics.in_flight(), 1);
        drop(timer);
        assert_eq!(metrics.in_flight(), 0);
        let cancelled = r#"http_requests_total{method="GET",route="/hello",status="499"}"#;
        assert_eq!(value(&text(&registry), cancelled), Some(1.0));
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
        assert_eq!(value(&text(&registry), series), Some(2.0));
    }
}
