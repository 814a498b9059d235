//! The slowest requests of a load, with the times and the outcome of each. Keeps only a limited number in memory.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, binary_heap::PeekMut},
    time::Duration,
};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{failure::FailureKind, target::Target};
use crate::units::to_f64;

/// One of the slowest arrivals of a run.
///
/// `lag_ms`, `wait_ms` and `response_ms` are the real times, also of an arrival without a complete response. Their sum is the
/// latency of a request with a complete response.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct SlowRequest {
    /// When the request was due, in seconds since `started_at`.
    pub due_seconds: f64,
    /// When the request was due, by the clock of this machine.
    pub due_at: Timestamp,
    /// The method and the URL.
    pub target: String,
    /// The status of the response; null if none began.
    pub status: Option<u16>,
    /// The kind of failure; null if the request succeeded.
    pub failure: Option<FailureKind>,
    /// The server, as it names itself in `x-served-by`; null if it does not.
    pub served_by: Option<String>,
    /// The latency as it counts in the percentiles, in milliseconds: from the intended start to the end of the response;
    /// without a complete response, until the failure and at least the timeout.
    pub latency_ms: f64,
    /// The delay of the generator itself, in milliseconds.
    pub lag_ms: f64,
    /// The time until a connection was available, or until the failure if none became available, in milliseconds.
    pub wait_ms: f64,
    /// The time to open a connection, in milliseconds; null if the request used an open one. Part of `wait_ms`, or of
    /// `response_ms` if the request was sent again on a new connection.
    pub connect_ms: Option<f64>,
    /// The time on the connection until the response was complete or the request failed, in milliseconds; null if no
    /// connection became available.
    pub response_ms: Option<f64>,
}

/// The measurements of one arrival. The derived order is by latency, then by start; the other fields make it a total
/// order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct RankedRequest {
    /// The latency as it counts in the percentiles.
    pub(crate) latency: Duration,
    pub(crate) intended: Reverse<Duration>,
    pub(crate) target: usize,
    /// The time from the intended start to the end or to the failure.
    pub(crate) elapsed: Duration,
    pub(crate) lag: Duration,
    pub(crate) connection_wait: Option<Duration>,
    pub(crate) connect_time: Option<Duration>,
    pub(crate) status: Option<u16>,
    pub(crate) failure: Option<FailureKind>,
    pub(crate) served_by: Option<String>,
}

impl RankedRequest {
    fn report(self, started_at: Timestamp, targets: &[Target]) -> SlowRequest {
        let Reverse(intended) = self.intended;
        let target = &targets[self.target];
        let on_connection = |wait| self.elapsed.saturating_sub(self.lag + wait);
        SlowRequest {
            due_seconds: intended.as_secs_f64(),
            due_at: started_at + intended,
            target: format!("{} {}", target.method, target.url),
            status: self.status,
            failure: self.failure,
            latency_ms: milliseconds(self.latency),
            lag_ms: milliseconds(self.lag),
            wait_ms: milliseconds(self.connection_wait.unwrap_or(on_connection(Duration::ZERO))),
            connect_ms: self.connect_time.map(milliseconds),
            response_ms: self.connection_wait.map(|wait| milliseconds(on_connection(wait))),
            served_by: self.served_by,
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    to_f64(microseconds) / 1000.0
}

/// The slowest requests, at most `limit`. The fastest of them is on top of the heap.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slowest {
    limit: usize,
    requests: BinaryHeap<Reverse<RankedRequest>>,
}

impl Slowest {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            requests: BinaryHeap::with_capacity(limit),
        }
    }

    /// Adds a request if it is one of the slowest. Calls `create` only for a request that may be.
    pub(crate) fn offer(&mut self, latency: Duration, create: impl FnOnce() -> RankedRequest) {
        if self.requests.len() < self.limit {
            self.requests.push(Reverse(create()));
        } else if let Some(fastest) = self.requests.peek_mut()
            && latency >= fastest.0.latency
        {
            replace_if_slower(fastest, create());
        }
    }

    /// Adds the slowest requests of another stripe.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.limit = self.limit.max(other.limit);
        for Reverse(request) in &other.requests {
            self.offer(request.latency, || request.clone());
        }
    }

    /// Returns the requests for the report, the slowest first.
    pub(crate) fn report(self, started_at: Timestamp, targets: &[Target]) -> Vec<SlowRequest> {
        let sorted = self.requests.into_sorted_vec();
        sorted
            .into_iter()
            .map(|Reverse(request)| request.report(started_at, targets))
            .collect()
    }
}

fn replace_if_slower(mut fastest: PeekMut<'_, Reverse<RankedRequest>>, request: RankedRequest) {
    if request > fastest.0 {
        fastest.0 = request;
    }
}

#[cfg(test)]
mod tests {
    use fastrand::Rng;

    use super::*;

    fn request(latency: Duration, intended: Duration) -> RankedRequest {
        RankedRequest {
            latency,
            intended: Reverse(intended),
            target: 0,
            elapsed: latency,
            lag: Duration::from_millis(1),
            connection_wait: None,
            connect_time: None,
            status: None,
            failure: None,
            served_by: None,
        }
    }

    fn report(slowest: Slowest) -> Vec<SlowRequest> {
        let target = "1 GET http://h/".parse().unwrap();
        slowest.report(Timestamp::from_second(1_800_000_000).unwrap(), &[target])
    }

    /// Equal latencies occur often here: the latency is a whole number below 50 ms.
    #[test]
    fn merged_lists_contain_the_slowest_of_all_requests() {
        let mut random = Rng::with_seed(3);
        let mut all = Vec::new();
        let mut stripes = [(); 3].map(|()| Slowest::new(7));
        for number in 0..1000 {
            let latency = Duration::from_millis(random.u64(0..50));
            let intended = Duration::from_millis(number);
            all.push(request(latency, intended));
            stripes[random.usize(0..3)].offer(latency, || request(latency, intended));
        }
        let mut merged = Slowest::default();
        for stripe in &stripes {
            assert!(stripe.requests.len() <= 7);
            merged.merge(stripe);
        }
        all.sort_unstable_by(|one, other| other.cmp(one));
        let expected: Vec<_> = all[..7].iter().map(|one| (one.latency, one.intended.0)).collect();
        let found: Vec<_> = report(merged)
            .iter()
            .map(|one| {
                let milliseconds = Duration::from_secs_f64(one.latency_ms / 1000.0);
                (milliseconds, Duration::from_secs_f64(one.due_seconds))
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_fast_request_is_never_created() {
        let mut slowest = Slowest::new(1);
        slowest.offer(Duration::from_millis(5), || {
            request(Duration::from_millis(5), Duration::ZERO)
        });
        slowest.offer(Duration::from_millis(4), || {
            panic!("the request is not one of the slowest")
        });
        Slowest::new(0).offer(Duration::from_secs(1), || panic!("the limit is 0"));
        assert_eq!(slowest.requests.len(), 1);
    }

    #[test]
    fn the_parts_of_the_latency_add_up() {
        let mut slowest = Slowest::new(2);
        let waited = request(Duration::from_millis(100), Duration::from_secs(2));
        let answered = RankedRequest {
            connection_wait: Some(Duration::from_millis(10)),
            connect_time: Some(Duration::from_millis(4)),
            ..request(Duration::from_millis(90), Duration::from_secs(1))
        };
        for request in [answered, waited] {
            slowest.offer(request.latency, || request.clone());
        }
        let parts = report(slowest)
            .iter()
            .map(|one| (one.lag_ms, one.wait_ms, one.connect_ms, one.response_ms))
            .collect::<Vec<_>>();
        assert_eq!(
            parts,
            [(1.0, 99.0, None, None), (1.0, 10.0, Some(4.0), Some(79.0))]
        );
    }
}
