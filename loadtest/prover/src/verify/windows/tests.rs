//! The comparison of windows: its texts, and its error rates in simulations.

use fastrand::Rng;

use super::*;

/// The windows of the default deadline: 5 minutes of 30 s.
const WINDOWS: usize = 10;

/// The number of simulated cases of a stable deployment. Most of them end with their first comparison.
const STABLE_CASES: u64 = 2000;

/// The number of simulated cases of a drift. All of them last until the deadline.
const DRIFT_CASES: u64 = 500;

fn tolerance() -> Tolerance {
    Tolerance::of_window(Duration::from_secs(30))
}

/// Returns a standard normal value (Box and Muller).
fn normal(random: &mut Rng) -> f64 {
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.f64()).cos()
}

/// The noise of the medians of seconds: log-normal, with this deviation, and this correlation from one second to the next.
#[derive(Clone, Copy)]
struct Noise {
    deviation: f64,
    correlation: f64,
}

/// Returns the share of the cases that are declared as settled before the deadline, as `settle` declares it. `level` is the level of the response time in a second, without noise, relative to the one at the start.
fn settled_share(noise: Noise, cases: u64, level: impl Fn(usize) -> f64) -> f64 {
    let mut random = Rng::with_seed(20_260_101);
    let mut settled = 0;
    for _ in 0..cases {
        let mut state = normal(&mut random);
        let mut seconds = Vec::new();
        for number in 0..WINDOWS * tolerance().window {
            let fresh = (1.0 - noise.correlation * noise.correlation).sqrt();
            state = noise.correlation * state + fresh * normal(&mut random);
            seconds.push(Second {
                // So large that the floor of 2 ms has no effect.
                latency_ms: Some(4000.0 * level(number) * (noise.deviation * state).exp()),
                ..Second::default()
            });
            let is_due = tolerance().is_due(seconds.len());
            if is_due && compare(&seconds, &[], &tolerance()).is_some_and(|found| found.is_settled()) {
                settled += 1;
                break;
            }
        }
    }
    share(settled, cases)
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand")]
fn share(part: u64, all: u64) -> f64 {
    part as f64 / all as f64
}

const NOISES: [Noise; 4] = [
    Noise {
        deviation: 0.1,
        correlation: 0.0,
    },
    Noise {
        deviation: 0.1,
        correlation: 0.7,
    },
    Noise {
        deviation: 0.3,
        correlation: 0.0,
    },
    Noise {
        deviation: 0.3,
        correlation: 0.7,
    },
];

/// The false alarms: a stable response time that is not declared as settled before the deadline.
#[test]
fn a_stable_response_time_is_settled_in_99_of_100_cases() {
    for noise in NOISES {
        let settled = settled_share(noise, STABLE_CASES, |_| 1.0);
        assert!(
            settled >= 0.99,
            "{settled} at {} and {}",
            noise.deviation,
            noise.correlation
        );
    }
}

/// The power: a response time that grows or shrinks by half from window to window is not declared as settled. Noise as large as the
/// drift, and as slow, hides it: the last row.
#[test]
fn a_response_time_that_drifts_by_half_in_each_window_is_not_settled() {
    #[expect(clippy::cast_precision_loss, reason = "some hundred seconds")]
    let drift = |factor: f64| move |second: usize| factor.powf(second as f64 / 30.0);
    for (noise, most) in NOISES.into_iter().zip([0.01, 0.01, 0.01, 0.5]) {
        for factor in [1.5, 1.0 / 1.5] {
            let settled = settled_share(noise, DRIFT_CASES, drift(factor));
            assert!(
                settled <= most,
                "{settled} at {} and {}",
                noise.deviation,
                noise.correlation
            );
        }
    }
}

/// The table of docs/delivery.md: smaller drifts.
#[test]
fn a_drift_counts_as_settled_only_below_the_tolerance() {
    #[expect(clippy::cast_precision_loss, reason = "some hundred seconds")]
    let drift = |factor: f64| move |second: usize| factor.powf(second as f64 / 30.0);
    let settled =
        [1.1, 1.2, 1.25, 1.3, 1.4].map(|factor| settled_share(NOISES[0], DRIFT_CASES, drift(factor)));
    assert!(settled[0] >= 0.99, "10 %: {settled:?}");
    assert!(
        settled[3] <= 0.01 && settled[4] <= 0.01,
        "30 and 40 %: {settled:?}"
    );
}

/// A deployment whose caches fill for 100 s is settled after them, not before.
#[test]
fn a_response_time_that_falls_at_first_is_settled_after_its_fall() {
    let mut random = Rng::with_seed(3);
    let mut seconds = Vec::new();
    let settled_after = (0..300).find(|number| {
        let level = if *number < 100 { 200.0 } else { 40.0 };
        seconds.push(Second {
            latency_ms: Some(
                level * (0.1 * normal(&mut random)).exp()
                    - 1.5 * f64::from(100_i32.saturating_sub(*number).max(0)),
            ),
            ..Second::default()
        });
        tolerance().is_due(seconds.len())
            && compare(&seconds, &[], &tolerance()).is_some_and(|found| found.is_settled())
    });
    assert!(
        settled_after.is_some_and(|after| after >= 120),
        "{settled_after:?}"
    );
}

/// A rate whose seconds overlap, because the metric is a rate over 4 s.
#[test]
fn a_stable_load_of_random_arrivals_is_settled() {
    for rate in [10.0, 100.0] {
        let mut random = Rng::with_seed(11);
        let mut settled = 0;
        for _ in 0..STABLE_CASES {
            let counts: Vec<f64> = (0..304)
                .map(|_| rate + f64::sqrt(rate) * normal(&mut random))
                .collect();
            let seconds: Vec<Second> = counts
                .windows(4)
                .map(|four| Second {
                    latency_ms: Some(40.0),
                    hpas: BTreeMap::from([(
                        "app-a".to_owned(),
                        HpaSecond {
                            replicas: Replicas {
                                desired: 2,
                                current: 2,
                                ready: 2,
                            },
                            rate: Some(four.iter().sum::<f64>() / 4.0),
                        },
                    )]),
                    ..Second::default()
                })
                .collect();
            let due = (0..=WINDOWS * 30).filter(|seconds| tolerance().is_due(*seconds));
            let is_settled = due.into_iter().any(|due| {
                compare(&seconds[..due], &["app-a".to_owned()], &tolerance())
                    .is_some_and(|found| found.is_settled())
            });
            settled += u64::from(is_settled);
        }
        assert!(
            share(settled, STABLE_CASES) >= 0.99,
            "{rate}: {}",
            share(settled, STABLE_CASES)
        );
    }
}

fn second(latency: f64, replicas: [i32; 3], rate: Option<f64>) -> Second {
    let [desired, current, ready] = replicas;
    Second {
        latency_ms: Some(latency),
        failed: 0,
        hpas: BTreeMap::from([(
            "app-a".to_owned(),
            HpaSecond {
                replicas: Replicas {
                    desired,
                    current,
                    ready,
                },
                rate,
            },
        )]),
    }
}

fn problems(change: impl Fn(usize, &mut Second)) -> Vec<String> {
    let seconds: Vec<Second> = (0..60)
        .map(|number| {
            let mut second = second(40.0, [2, 2, 2], Some(100.0));
            change(number, &mut second);
            second
        })
        .collect();
    compare(&seconds, &["app-a".to_owned()], &tolerance())
        .unwrap()
        .problems
}

#[test]
fn each_series_that_has_not_settled_is_named_with_what_was_seen() {
    assert_eq!(problems(|_, _| ()), Vec::<String>::new());
    let of_hpa =
        |second: &mut Second, change: &dyn Fn(&mut HpaSecond)| change(second.hpas.get_mut("app-a").unwrap());
    let cases: [(&str, Vec<String>); 7] = [
        (
            "response time: 40 then 60 ms, shift +20.00 (+20.00 to +20.00, within ±10 is equal)",
            problems(|number, second| second.latency_ms = Some(if number < 30 { 40.0 } else { 60.0 })),
        ),
        (
            "response time: 23 of 30 seconds have a value",
            problems(|number, second| second.latency_ms = second.latency_ms.filter(|_| number >= 7)),
        ),
        (
            "requests failed: 2",
            problems(|number, second| second.failed = u64::from(number > 57)),
        ),
        (
            "load of app-a: 100 then 200 requests/s",
            problems(|number, second| {
                of_hpa(second, &|hpa| {
                    hpa.rate = Some(if number < 30 { 100.0 } else { 200.0 });
                });
            }),
        ),
        (
            "load of app-a: 0 of 30 seconds have a value",
            problems(|_, second| of_hpa(second, &|hpa| hpa.rate = None)),
        ),
        (
            "replicas of app-a: changed: desired 2, current 2, ready 2; then desired 3, current 3, ready 2; then desired 3, current 3, ready 3",
            problems(|number, second| {
                of_hpa(second, &|hpa| {
                    let ready = if number < 20 { 2 } else { 3 };
                    let desired = if number < 10 { 2 } else { 3 };
                    hpa.replicas = Replicas {
                        desired,
                        current: desired,
                        ready,
                    };
                });
            }),
        ),
        (
            "replicas of app-a: desired 3, current 2, ready 2",
            problems(|_, second| of_hpa(second, &|hpa| hpa.replicas.desired = 3)),
        ),
    ];
    for (expected, found) in cases {
        assert!(
            found.len() == 1 && found[0].starts_with(expected),
            "{expected}: {found:#?}"
        );
    }
    assert_eq!(
        compare(&vec![Second::default(); 59], &[], &tolerance()),
        None,
        "fewer than two windows"
    );
}
