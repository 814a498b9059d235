//! The comparison of a canary: its texts, and its error rates in simulations.

use fastrand::Rng;

use super::*;

/// The default deadline, in seconds.
const DEADLINE: usize = 300;

/// The number of simulated canaries of a kind.
const CASES: u64 = 100;

/// The response times of a pod that works, in seconds: log-normal, with a median of 2 ms and a long tail.
const MEDIAN: f64 = 0.002;
const SPREAD: f64 = 0.6;

/// The bounds of the histogram of the services.
const BOUNDS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How a release answers.
#[derive(Clone, Copy)]
struct Release {
    /// The share of requests that fail.
    failing: f64,
    /// The share of requests that are delayed, and by how many seconds.
    delayed: f64,
    delay: f64,
}

const GOOD: Release = Release {
    failing: 0.0,
    delayed: 0.0,
    delay: 0.0,
};

const RULES: Rules = Rules {
    window: 30,
    failures: 0.02,
    refusals: 0.05,
    slower: 0.25,
    slower_ms: 5.0,
};

#[test]
fn the_rules_of_the_simulations_are_those_of_the_test() {
    assert_eq!(Rules::of(30, 0.25), RULES);
}

fn normal(random: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// Returns what a pod counts in a second: Poisson arrivals at a rate.
fn second(random: &mut Rng, release: Release, rate: f64) -> Counters {
    let mut counters = Counters {
        buckets: BOUNDS.map(|bound| (bound, 0.0)).into(),
        ..Counters::default()
    };
    let mut time = -(1.0 - random.f64()).ln() / rate;
    while time < 1.0 {
        time -= (1.0 - random.f64()).ln() / rate;
        let mut seconds = MEDIAN * (SPREAD * normal(random)).exp();
        if random.f64() < release.delayed {
            seconds += release.delay;
        }
        counters.requests += 1.0;
        counters.timed += 1.0;
        counters.seconds += seconds;
        if random.f64() < release.failing {
            counters.failed += 1.0;
        }
        for (bound, count) in &mut counters.buckets {
            if seconds <= *bound {
                *count += 1.0;
            }
        }
    }
    counters
}

/// The ends of simulated tests, as shares, and the average time and number of requests to the canary.
#[derive(Debug, Default)]
struct Ends {
    passed: f64,
    worse: f64,
    seconds: f64,
    requests: f64,
}

/// Simulates the test as `canary_load` runs it: a comparison each second until it shows something, or the deadline comes.
fn simulate(canary: Release, stable: Release, rate: f64) -> Ends {
    simulate_cases(CASES, canary, stable, rate)
}

fn simulate_cases(cases: u64, canary: Release, stable: Release, rate: f64) -> Ends {
    let mut random = Rng::with_seed(20_260_101);
    let mut ends = Ends::default();
    #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
    let share = 1.0 / cases as f64;
    for _ in 0..cases {
        let mut seconds = Vec::new();
        for number in 1..=DEADLINE {
            seconds.push(Second {
                canary: second(&mut random, canary, rate),
                // Two stable pods.
                stable: second(&mut random, stable, 2.0 * rate),
            });
            let found = compare(&seconds, &RULES);
            if matches!(found.shown, Shown::Nothing(_)) && number < DEADLINE {
                continue;
            }
            match found.shown {
                Shown::NotWorse => ends.passed += share,
                Shown::Worse => ends.worse += share,
                Shown::Nothing(_) => {}
            }
            #[expect(clippy::cast_precision_loss, reason = "at most the deadline")]
            let observed = number as f64;
            ends.seconds += observed * share;
            ends.requests += found.canary.requests * share;
            break;
        }
    }
    ends
}

/// The false alarms: a release that is as good as the running one.
#[test]
fn a_release_that_is_as_good_passes_in_98_of_100_cases() {
    for failing in [0.0, 0.01] {
        for rate in [5.0, 15.0] {
            let release = Release { failing, ..GOOD };
            let ends = simulate(release, release, rate);
            assert!(
                ends.passed >= 0.98 && ends.worse <= 0.01 && ends.seconds < 100.0,
                "{failing} failing at {rate}/s: {ends:?}"
            );
        }
    }
}

/// The limit: where many requests fail everywhere, few requests show little.
#[test]
fn where_5_percent_fail_everywhere_a_good_release_needs_more_requests() {
    let release = Release {
        failing: 0.05,
        ..GOOD
    };
    // With 100 cases, 77 pass. Most tests last until the deadline, so 100 take a minute.
    let few = simulate_cases(25, release, release, 5.0);
    let many = simulate_cases(25, release, release, 30.0);
    assert!(
        (0.5..0.95).contains(&few.passed) && few.worse <= 0.04 && many.passed >= 0.96,
        "{few:?} {many:?}"
    );
}

/// The power: a release that is worse than the margins.
#[test]
fn a_release_that_is_worse_than_the_margins_passes_in_at_most_1_of_100_cases() {
    let failing = |failing| Release { failing, ..GOOD };
    let delayed = |delayed, delay| Release {
        delayed,
        delay,
        ..GOOD
    };
    for (name, bad) in [
        ("5 % fail", failing(0.05)),
        ("10 % fail", failing(0.1)),
        ("all fail", failing(1.0)),
        ("5 % take 300 ms more", delayed(0.05, 0.3)),
        ("10 % take 300 ms more", delayed(0.1, 0.3)),
        ("all take 10 ms more", delayed(1.0, 0.01)),
        ("all take 300 ms more", delayed(1.0, 0.3)),
    ] {
        let ends = simulate(bad, GOOD, 15.0);
        assert!(
            ends.passed <= 0.01 && ends.worse >= 0.98 && ends.requests < 300.0,
            "{name}: {ends:?}"
        );
    }
}
