//! The measurements of one stripe.
//!
//! All durations are in HDR histograms, so memory grows with the length of a run and not with the number of requests.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::{
    counts::Counts,
    exchange::ExchangeDetails,
    failure::{Failure, FailureKind},
    histogram,
    intervals::Intervals,
    slowest::{RankedRequest, Slowest},
};

/// The maximum number of distinct `x-served-by` values. It bounds the memory if the server sends a new value each time.
const MAX_SERVED_BY_NAMES: usize = 1000;

/// The name that counts all other values.
const OTHER_SERVERS: &str = "(others)";

/// The results of one target of a mix.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TargetRecord {
    pub(crate) counts: Counts,
    #[serde(with = "histogram")]
    pub(crate) latency: Histogram<u64>,
}

/// The result of one completed request.
pub(crate) struct CompletedRequest {
    pub(crate) intended: Duration,
    pub(crate) target: usize,
    pub(crate) latency: Duration,
    pub(crate) result: Result<(), Failure>,
    pub(crate) details: ExchangeDetails,
}

/// The responses of one server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerResponses {
    pub(crate) answers: u64,
    /// The time from the start to the end of the first response.
    pub(crate) first: Duration,
}

/// The measurements of one stripe, or of several merged.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Recorder {
    pub(crate) counts: Counts,
    /// The latency of every arrival, from its intended start. Without a complete response, it is at least the timeout.
    #[serde(with = "histogram")]
    pub(crate) latency: Histogram<u64>,
    /// The latency of the requests that succeeded.
    #[serde(with = "histogram")]
    pub(crate) latency_succeeded: Histogram<u64>,
    /// The exact sum of all latencies, for the mean.
    pub(crate) latency_sum: Duration,
    /// The delay from the intended start until the generator started the request.
    #[serde(with = "histogram")]
    pub(crate) lag: Histogram<u64>,
    /// The time from the start of the request until a connection was available.
    #[serde(with = "histogram")]
    pub(crate) connection_wait: Histogram<u64>,
    /// The time to open a connection.
    #[serde(with = "histogram")]
    pub(crate) connect: Histogram<u64>,
    pub(crate) failures: BTreeMap<FailureKind, u64>,
    /// The text of the first failure of each kind.
    pub(crate) examples: BTreeMap<FailureKind, String>,
    pub(crate) statuses: BTreeMap<u16, u64>,
    pub(crate) served_by: BTreeMap<String, ServerResponses>,
    pub(crate) targets: Vec<TargetRecord>,
    pub(crate) slowest: Slowest,
    pub(crate) body_bytes: u64,
    pub(crate) opened: u64,
    /// The time from the start until the last arrival was sent or dropped.
    pub(crate) last_taken_up: Duration,
    /// Arrivals that were due before the load was stopped, but neither sent nor dropped.
    pub(crate) missed: u64,
    /// The latencies of requests that completed since the last [`Recorder::take_recent_latencies`].
    #[serde(skip, default = "histogram::new")]
    recent_latency: Histogram<u64>,
    pub(crate) intervals: Intervals,
}

impl Recorder {
    pub(crate) fn new(targets: usize, timeout: Duration) -> Self {
        Self {
            counts: Counts::default(),
            latency: histogram::new(),
            latency_succeeded: histogram::new(),
            latency_sum: Duration::ZERO,
            lag: histogram::new(),
            connection_wait: histogram::new(),
            connect: histogram::new(),
            failures: BTreeMap::new(),
            examples: BTreeMap::new(),
            statuses: BTreeMap::new(),
            served_by: BTreeMap::new(),
            targets: vec![
                TargetRecord {
                    counts: Counts::default(),
                    latency: histogram::new()
                };
                targets
            ],
            slowest: Slowest::default(),
            body_bytes: 0,
            opened: 0,
            last_taken_up: Duration::ZERO,
            missed: 0,
            recent_latency: histogram::new(),
            intervals: Intervals::new(timeout),
        }
    }

    /// Records that the generator started a request, `lag` after its intended start.
    pub(crate) fn record_sent(&mut self, intended: Duration, target: usize, lag: Duration) {
        histogram::record(&mut self.lag, lag);
        self.count_arrival(intended, target, lag, |counts| counts.sent += 1);
    }

    /// Records an arrival that was not sent, because too many requests were in flight.
    pub(crate) fn record_dropped(&mut self, intended: Duration, target: usize, now: Duration) {
        *self.failures.entry(FailureKind::Dropped).or_default() += 1;
        self.examples
            .entry(FailureKind::Dropped)
            .or_insert_with(|| "the maximum number of requests (--max-in-flight) was in flight".to_owned());
        let late = now.saturating_sub(intended);
        self.count_arrival(intended, target, late, |counts| {
            counts.dropped += 1;
            counts.failed += 1;
        });
        let counted = late.max(self.intervals.timeout());
        self.record_latency(intended, target, counted);
        self.slowest.offer(counted, || RankedRequest {
            latency: counted,
            intended: Reverse(intended),
            target,
            elapsed: late,
            lag: late,
            connection_wait: None,
            connect_time: None,
            status: None,
            failure: Some(FailureKind::Dropped),
            served_by: None,
        });
    }

    /// Records the latency of an arrival.
    ///
    /// Without a complete response it is at least the timeout: the user of this arrival waited in vain. Otherwise a server
    /// that refuses connections would look fast.
    fn record_latency(&mut self, intended: Duration, target: usize, latency: Duration) {
        for histogram in [
            &mut self.latency,
            &mut self.recent_latency,
            &mut self.targets[target].latency,
            &mut self.intervals.at(intended).latency,
        ] {
            histogram::record(histogram, latency);
        }
        self.latency_sum += latency;
    }

    fn count_arrival(
        &mut self,
        intended: Duration,
        target: usize,
        late: Duration,
        count: impl Fn(&mut Counts),
    ) {
        self.last_taken_up = self.last_taken_up.max(intended + late);
        self.count_in_total_target_and_second(intended, target, |counts| {
            counts.scheduled += 1;
            count(counts);
        });
    }

    /// Records a request that succeeded or failed.
    pub(crate) fn record_completed(&mut self, completed: CompletedRequest) {
        let CompletedRequest {
            intended,
            target,
            latency,
            result,
            details,
        } = completed;
        let failed = result.is_err();
        self.count_in_total_target_and_second(intended, target, |counts| {
            counts.succeeded += u64::from(!failed);
            counts.failed += u64::from(failed);
            counts.retries += u64::from(details.retried);
        });
        let has_response = result
            .as_ref()
            .map_or_else(|failure| failure.kind.has_response(), |()| true);
        let at_least = if has_response {
            Duration::ZERO
        } else {
            self.intervals.timeout()
        };
        let counted = latency.max(at_least);
        self.record_latency(intended, target, counted);
        self.slowest.offer(counted, || RankedRequest {
            latency: counted,
            intended: Reverse(intended),
            target,
            elapsed: latency,
            lag: details.lag,
            connection_wait: details.connection_wait,
            connect_time: details.connect_time,
            status: details.status,
            failure: result.as_ref().err().map(|failure| failure.kind),
            served_by: details
                .served_by
                .as_ref()
                .map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()),
        });
        match result {
            Ok(()) => histogram::record(&mut self.latency_succeeded, latency),
            Err(failure) => {
                *self.failures.entry(failure.kind).or_default() += 1;
                self.examples.entry(failure.kind).or_insert(failure.detail);
            }
        }
        if let Some(wait) = details.connection_wait {
            histogram::record(&mut self.connection_wait, wait);
        }
        if let Some(time) = details.connect_time {
            histogram::record(&mut self.connect, time);
        }
        if let Some(status) = details.status {
            *self.statuses.entry(status).or_default() += 1;
        }
        if let Some(name) = details.served_by {
            let name = String::from_utf8_lossy(name.as_bytes());
            let is_listed = self.served_by.len() < MAX_SERVED_BY_NAMES || self.served_by.contains_key(&*name);
            self.count_server(
                if is_listed { &name } else { OTHER_SERVERS },
                1,
                intended + latency,
            );
        }
        self.body_bytes += details.body_bytes;
    }

    fn count_server(&mut self, name: &str, answers: u64, first: Duration) {
        match self.served_by.get_mut(name) {
            Some(served) => {
                served.answers += answers;
                served.first = served.first.min(first);
            }
            None => drop(
                self.served_by
                    .insert(name.to_owned(), ServerResponses { answers, first }),
            ),
        }
    }

    fn count_in_total_target_and_second(
        &mut self,
        intended: Duration,
        target: usize,
        count: impl Fn(&mut Counts),
    ) {
        count(&mut self.counts);
        count(&mut self.targets[target].counts);
        count(&mut self.intervals.at(intended).counts);
    }

    /// Returns the latencies of the requests that completed since the last call.
    pub(crate) fn take_recent_latencies(&mut self) -> Histogram<u64> {
        std::mem::replace(&mut self.recent_latency, histogram::new())
    }

    /// Adds the measurements of another stripe.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.merge(&other.counts);
        for (mine, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.latency_succeeded, &other.latency_succeeded),
            (&mut self.lag, &other.lag),
            (&mut self.connection_wait, &other.connection_wait),
            (&mut self.connect, &other.connect),
        ] {
            histogram::merge(mine, others);
        }
        self.latency_sum += other.latency_sum;
        for (kind, count) in &other.failures {
            *self.failures.entry(*kind).or_default() += count;
        }
        for (kind, example) in &other.examples {
            self.examples.entry(*kind).or_insert_with(|| example.clone());
        }
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        for (name, served) in &other.served_by {
            self.count_server(name, served.answers, served.first);
        }
        for (mine, others) in self.targets.iter_mut().zip(&other.targets) {
            mine.counts.merge(&others.counts);
            histogram::merge(&mut mine.latency, &others.latency);
        }
        self.slowest.merge(&other.slowest);
        self.body_bytes += other.body_bytes;
        self.opened += other.opened;
        self.last_taken_up = self.last_taken_up.max(other.last_taken_up);
        self.missed += other.missed;
    }
}

#[cfg(test)]
mod tests;
