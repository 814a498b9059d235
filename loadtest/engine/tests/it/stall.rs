//! Compares the report on a stalling server with the theory of an open loop.
//!
//! A request that is due at time t after the start of a stall of length S waits S - t for the end of the stall. Then it
//! waits d(t) for its turn in the backlog. If the backlog drains evenly, d(t) = r t, where r is the rate divided by the
//! drain rate. In a run of length D, the percentiles are therefore `p_q = S - (1 - q) D + d((1 - q) D)`, and the mean
//! is the sum of all waits divided by the number of requests.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use engine::{Bounds, FailureKind, LoadReport, Outcome, units::MaxFailed};

use crate::support::{self, Counter, Stalls};

const RATE: u32 = 1000;
const LENGTH: Duration = Duration::from_secs(10);
const STALL: Duration = Duration::from_secs(2);

/// A server that responds at once, except for one stall of its whole thread at the 4,000th request.
struct StallingServer {
    url: String,
    stalls: Stalls,
    response_times: Arc<Mutex<Vec<Instant>>>,
}

impl StallingServer {
    fn start() -> Self {
        let (stalls, counter, response_times) = (
            Stalls::default(),
            Counter::default(),
            Arc::new(Mutex::new(Vec::new())),
        );
        let handler = {
            let (stalls, response_times) = (stalls.clone(), Arc::clone(&response_times));
            move || async move {
                if counter.next() == 4000 {
                    stalls.stall(STALL);
                }
                response_times.lock().unwrap().push(Instant::now());
                "Hello there"
            }
        };
        let address = support::serve(Router::new().route("/", get(handler)));
        Self {
            url: format!("http://{address}/"),
            stalls,
            response_times,
        }
    }

    /// Returns the real stall and drain, which depend on the speed and load of the machine.
    fn measured_stall(&self) -> Stall {
        let length = self.stalls.lengths()[0].as_secs_f64();
        let times = self.response_times.lock().unwrap();
        let longest_gap = times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .enumerate()
            .max_by_key(|(_, gap)| *gap)
            .unwrap()
            .0;
        let resumed = times[longest_gap + 1];
        let drain_times = times[longest_gap + 1..]
            .iter()
            .map(|time| (*time - resumed).as_secs_f64())
            .collect();
        Stall { length, drain_times }
    }
}

/// A stall and the drain of its backlog, in seconds.
struct Stall {
    length: f64,
    /// The time from the end of the stall to each response, in the order in which the requests were due.
    drain_times: Vec<f64>,
}

impl Stall {
    /// Returns the theoretical wait of a request that is due `due` seconds after the start of the stall.
    fn wait(&self, due: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position of a few thousand"
        )]
        let position = (due * f64::from(RATE)) as usize;
        (self.length - due + self.drain_times[position]).max(0.0)
    }

    /// Returns the theoretical mean latency of a run of `run` seconds.
    fn mean(&self, run: f64) -> f64 {
        let due = (0_u32..).map(|position| f64::from(position) / f64::from(RATE));
        let waits: f64 = due
            .take(self.drain_times.len())
            .map(|due| self.wait(due))
            .take_while(|wait| *wait > 0.0)
            .sum();
        waits / (run * f64::from(RATE))
    }
}

fn assert_close(name: &str, measured_ms: Option<f64>, theory_seconds: f64) {
    let measured = measured_ms.unwrap() / 1000.0;
    let error = (measured - theory_seconds) / theory_seconds;
    println!(
        "{name}: measured {measured:.3} s, theory {theory_seconds:.3} s, {:+.1} %",
        error * 100.0
    );
    assert!(
        error.abs() <= 0.05,
        "{name} is {measured:.3} s, expected {theory_seconds:.3} s by theory"
    );
}

fn bounds() -> Bounds {
    Bounds {
        max_lag: Duration::from_millis(100),
        max_failed: MaxFailed::Count(0),
    }
}

#[test]
fn latencies_of_a_stall_of_two_seconds_match_the_theory() {
    let server = StallingServer::start();
    let report = support::run_load(support::plan(&server.url, RATE, LENGTH));
    let stall = server.measured_stall();
    println!(
        "stalled for {:.3} s, sent 1,000 responses within {:.3} s after that, lag p99 {:?} ms",
        stall.length, stall.drain_times[999], report.lag_ms.p99
    );
    let run = LENGTH.as_secs_f64();
    let latency = &report.latency_ms;
    assert_close("p90", latency.p90, stall.wait(0.1 * run));
    assert_close("p95", latency.p95, stall.wait(0.05 * run));
    assert_close("p99", latency.p99, stall.wait(0.01 * run));
    assert_close("mean", latency.mean, stall.mean(run));
    assert_eq!((report.requests.succeeded, report.requests.failed), (10_000, 0));
    assert_eq!(report.judge(&bounds(), &[], false).outcome, Outcome::Passed);
    assert_only_the_seconds_of_the_stall_are_slow(&report);
}

fn assert_only_the_seconds_of_the_stall_are_slow(report: &LoadReport) {
    assert_eq!(report.intervals.len(), 10);
    assert!(
        report
            .intervals
            .iter()
            .all(|interval| interval.counts.sent == u64::from(RATE))
    );
    for interval in &report.intervals {
        let is_slow = interval.latency_ms.max.unwrap() > 900.0;
        assert_eq!(
            is_slow,
            (4..6).contains(&interval.second),
            "second {}: {:?}",
            interval.second,
            interval.latency_ms
        );
    }
}

#[test]
fn a_run_with_dropped_arrivals_fails_instead_of_looking_fast() {
    let server = StallingServer::start();
    let mut plan = support::plan(&server.url, RATE, LENGTH);
    plan.max_in_flight = 50;
    let report = support::run_load(plan);
    let dropped = report.failures[&FailureKind::Dropped];
    // 2,000 arrivals are due during the stall, and 50 of them are sent.
    assert!((1_800..=2_200).contains(&dropped), "{dropped} dropped");
    assert_eq!(report.requests.sent + dropped, 10_000);
    let verdict = report.judge(&bounds(), &[], false);
    assert_eq!(verdict.outcome, Outcome::Failed, "{verdict:?}");
    assert!(verdict.warnings[0].contains("--max-in-flight"), "{verdict:?}");
    assert!(verdict.reasons[0].contains("dropped"), "{verdict:?}");
}

/// 4 % of the arrivals are dropped in a stall, and everything else is fast.
#[test]
fn percentiles_and_thresholds_count_dropped_arrivals_with_at_least_the_timeout() {
    let server = StallingServer::start();
    let mut plan = support::plan(&server.url, RATE, LENGTH);
    plan.max_in_flight = 50;
    plan.timeout = Duration::from_secs(3);
    let report = support::run_load(plan);
    let dropped = report.requests.dropped;
    assert!(dropped > 1_800, "{dropped} dropped");
    let latency = &report.latency_ms;
    assert_eq!(latency.count, report.requests.scheduled, "every arrival counts");
    // Without the dropped arrivals, the p90 would be that of the fast requests.
    assert!(
        latency.p50.unwrap() < 1000.0 && latency.p90.unwrap() >= 2_990.0,
        "{latency:?}"
    );
    let target = &report.targets[0].latency_ms;
    assert!(target.p90.unwrap() >= 2_990.0, "{target:?}");
    let worst = report
        .intervals
        .iter()
        .map(|second| second.latency_ms.p99.unwrap());
    assert!(worst.fold(0.0, f64::max) >= 2_990.0);
    let thresholds = ["failed<30%", "p(85)<1s", "med<1s"].map(|text| text.parse().unwrap());
    let bounds = Bounds {
        max_failed: MaxFailed::Share(1.0),
        ..bounds()
    };
    let verdict = report.judge(&bounds, &thresholds, false);
    let holds: Vec<bool> = verdict
        .thresholds
        .iter()
        .map(|threshold| threshold.holds)
        .collect();
    assert_eq!(holds, [true, false, true], "{verdict:?}");
    let verdict = report.judge(&bounds, &thresholds[..1], false);
    assert_eq!(verdict.outcome, Outcome::Passed, "{verdict:?}");
    assert!(
        verdict.warnings[0].contains("arrivals were dropped")
            && verdict.warnings[0].contains("timeout of 3 s"),
        "no warning about the drops: {verdict:?}"
    );
}
