//! The metrics of the calls to `app_b`.

use std::time::Instant;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry};
use service::metrics::{LATENCY_BUCKETS, register};

/// Outcome of a call, the value of the label `outcome`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A user has the token.
    Known,
    /// No user has the token.
    Unknown,
    /// The connection failed.
    Unreachable,
    /// The call exceeded its deadline.
    Deadline,
    /// `app_b` rejected the call because of overload.
    Shed,
    /// The response does not follow the contract.
    BadAnswer,
    /// The call was cancelled: the client disconnected, or its request timed out.
    Cancelled,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 7] = [
        Self::Known,
        Self::Unknown,
        Self::Unreachable,
        Self::Deadline,
        Self::Shed,
        Self::BadAnswer,
        Self::Cancelled,
    ];

    /// Returns the value of the label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Deadline => "deadline",
            Self::Shed => "shed",
            Self::BadAnswer => "bad_answer",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The metrics of the calls to `app_b`. Clones share their values.
#[derive(Debug, Clone)]
pub struct CallMetrics {
    /// Calls to `app_b`, by outcome
    pub http_client_requests_total: IntCounterVec,
    /// Duration of a call to `app_b` in seconds, retry included
    pub http_client_request_duration_seconds: Histogram,
    /// Calls to `app_b` that were retried: the connection closed before a response, or was not established in time
    pub http_client_retries_total: IntCounter,
}

impl CallMetrics {
    /// Registers the metrics. The counter of each outcome starts at 0.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        let requests = Opts::new("http_client_requests_total", "Calls to app_b, by outcome");
        let duration = HistogramOpts::new(
            "http_client_request_duration_seconds",
            "Duration of a call to app_b in seconds, retry included",
        )
        .const_label("peer", "app_b")
        .buckets(LATENCY_BUCKETS.to_vec());
        let retries = Opts::new(
            "http_client_retries_total",
            "Calls to app_b that were retried: the connection closed before a response, or was not established in time",
        )
        .const_label("peer", "app_b");
        let metrics = Self {
            http_client_requests_total: register(
                registry,
                IntCounterVec::new(requests.const_label("peer", "app_b"), &["outcome"]),
            ),
            http_client_request_duration_seconds: register(registry, Histogram::with_opts(duration)),
            http_client_retries_total: register(registry, IntCounter::with_opts(retries)),
        };
        for outcome in Outcome::ALL {
            metrics
                .http_client_requests_total
                .with_label_values(&[outcome.label()]);
        }
        metrics
    }

    /// Starts to measure a call.
    pub(super) fn start(&self) -> Call<'_> {
        Call {
            metrics: self,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }
}

/// A call in flight. A call that is dropped before [`Call::finish`] counts as cancelled.
#[derive(Debug)]
pub(super) struct Call<'a> {
    metrics: &'a CallMetrics,
    started: Instant,
    outcome: Outcome,
}

impl Call<'_> {
    /// Records the duration and the outcome.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics
            .http_client_request_duration_seconds
            .observe(self.started.elapsed().as_secs_f64());
        self.metrics
            .http_client_requests_total
            .with_label_values(&[self.outcome.label()])
            .inc();
    }
}
