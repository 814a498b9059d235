//! Does the generator tell the truth about a server that stalls? The theory of an open loop says what it must report.
//! A request that is due t after a stall of S began waits S - t, and then for its turn in the backlog, d(t): where the
//! backlog drains evenly, d(t) = r t with r the rate over the rate of draining. In a run of D this makes
//! `p_q = S - (1 - q) D + d((1 - q) D)`, and the mean the sum of all waits over the number of requests.

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

/// A server that answers at once, but for one stall of the whole thread at its 4,000th request.
struct Stalling {
    url: String,
    stalls: Stalls,
    served: Arc<Mutex<Vec<Instant>>>,
}

impl Stalling {
    fn start() -> Self {
        let (stalls, counter, served) = (
            Stalls::default(),
            Counter::default(),
            Arc::new(Mutex::new(Vec::new())),
        );
        let handler = {
            let (stalls, served) = (stalls.clone(), Arc::clone(&served));
            move || async move {
                if counter.next() == 4000 {
                    stalls.stall(STALL);
                }
                served.lock().unwrap().push(Instant::now());
                "Hello there"
            }
        };
        let address = support::serve(Router::new().route("/", get(handler)));
        Self {
            url: format!("http://{address}/"),
            stalls,
            served,
        }
    }

    /// What the stall was like: the machine may be slow or busy.
    fn measured(&self) -> Stall {
        let length = self.stalls.lengths()[0].as_secs_f64();
        let served = self.served.lock().unwrap();
        let gap = served
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .enumerate()
            .max_by_key(|(_, gap)| *gap)
            .unwrap()
            .0;
        let resumed = served[gap + 1];
        let drained = served[gap + 1..]
            .iter()
            .map(|served| (*served - resumed).as_secs_f64())
            .collect();
        Stall { length, drained }
    }
}

/// A stall and what came after it, in seconds.
struct Stall {
    length: f64,
    /// From its end until the request that was due first was answered, the second, and so on.
    drained: Vec<f64>,
}

impl Stall {
    /// What a request waits that is due so many seconds after the stall began, by theory.
    fn wait(&self, due: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position of some thousands"
        )]
        let position = (due * f64::from(RATE)) as usize;
        (self.length - due + self.drained[position]).max(0.0)
    }

    /// The mean over a run of so many seconds.
    fn mean(&self, run: f64) -> f64 {
        let due = (0_u32..).map(|position| f64::from(position) / f64::from(RATE));
        let waits: f64 = due
            .take(self.drained.len())
            .map(|due| self.wait(due))
            .take_while(|wait| *wait > 0.0)
            .sum();
        waits / (run * f64::from(RATE))
    }
}

fn close(what: &str, measured_ms: Option<f64>, theory_seconds: f64) {
    let measured = measured_ms.unwrap() / 1000.0;
    let off = (measured - theory_seconds) / theory_seconds;
    println!(
        "{what}: measured {measured:.3} s, theory {theory_seconds:.3} s, {:+.1} %",
        off * 100.0
    );
    assert!(
        off.abs() <= 0.05,
        "{what} is {measured:.3} s where theory says {theory_seconds:.3} s"
    );
}

fn bounds() -> Bounds {
    Bounds {
        max_lag: Duration::from_millis(100),
        max_failed: MaxFailed::Count(0),
    }
}

#[test]
fn a_stall_of_two_seconds_shows_as_theory_says() {
    let server = Stalling::start();
    let report = support::drive(support::plan(&server.url, RATE, LENGTH));
    let stall = server.measured();
    println!(
        "stalled for {:.3} s, the first thousand answered {:.3} s later, lag p99 {:?} ms",
        stall.length, stall.drained[999], report.lag_ms.p99
    );
    let run = LENGTH.as_secs_f64();
    let latency = &report.latency_ms;
    close("p90", latency.p90, stall.wait(0.1 * run));
    close("p95", latency.p95, stall.wait(0.05 * run));
    close("p99", latency.p99, stall.wait(0.01 * run));
    close("mean", latency.mean, stall.mean(run));
    assert_eq!((report.requests.succeeded, report.requests.failed), (10_000, 0));
    assert_eq!(report.judge(&bounds(), &[], false).outcome, Outcome::Passed);
    assert_worst_seconds_are_those_of_the_stall(&report);
}

fn assert_worst_seconds_are_those_of_the_stall(report: &LoadReport) {
    assert_eq!(report.intervals.len(), 10);
    assert!(
        report
            .intervals
            .iter()
            .all(|interval| interval.counts.sent == u64::from(RATE))
    );
    for interval in &report.intervals {
        let slow = interval.latency_ms.max.unwrap() > 900.0;
        assert_eq!(
            slow,
            (4..6).contains(&interval.second),
            "second {}: {:?}",
            interval.second,
            interval.latency_ms
        );
    }
}

#[test]
fn starved_of_room_the_run_fails_instead_of_looking_fast() {
    let server = Stalling::start();
    let mut plan = support::plan(&server.url, RATE, LENGTH);
    plan.max_in_flight = 50;
    let report = support::drive(plan);
    let dropped = report.failures[&FailureKind::Dropped];
    // 2,000 arrivals fall into the stall, and 50 of them find room.
    assert!((1_800..=2_200).contains(&dropped), "{dropped} dropped");
    assert_eq!(report.requests.sent + dropped, 10_000);
    let verdict = report.judge(&bounds(), &[], false);
    assert_eq!(verdict.outcome, Outcome::Failed, "{verdict:?}");
    assert!(
        verdict
            .reasons
            .iter()
            .any(|reason| reason.contains("--max-in-flight")),
        "{verdict:?}"
    );
}
