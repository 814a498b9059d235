//! Merges the results of all stripes of a load into one report.

use std::time::Duration;

use super::{
    record::Recorder,
    report::{LoadReport, StripeReport},
    report_builder::{self, ReportInput},
    stripe_result::{SharedLoad, StripeResult},
    summary::Summary,
    warm_up::WarmUp,
};

/// The result of one stripe, as collected from a pod or a file.
#[derive(Debug)]
pub struct CollectedStripe {
    /// The pod that ran the stripe, or the file with its result.
    pub name: String,
    /// The result, or the reason why it is missing.
    pub result: Result<StripeResult, String>,
}

/// Merges the results of the stripes of `load`, in their order.
///
/// The report is exact: it equals the report of one process with the same measurements.
///
/// `stopped_after` is the time from the start until the user stopped the load; `None` if the user did not stop it. The
/// length of a stopped load is that of its longest stripe, or `stopped_after` if no result contains a length.
#[must_use]
pub fn merge(
    load: &SharedLoad,
    collected: Vec<CollectedStripe>,
    stopped_after: Option<Duration>,
) -> LoadReport {
    let (_, planned) = load.plan.lengths(stopped_after);
    let mut longest = None;
    let mut warm_up = WarmUp::default();
    let mut recorders = Vec::new();
    let mut stripes = Vec::new();
    for (stripe, collected) in (0..).zip(collected) {
        let result = collected
            .result
            .and_then(|result| match load.differs_from(&result.load) {
                Some(difference) => Err(difference),
                None => Ok(result),
            });
        let (problem, stripe_recorders) = match result {
            Err(problem) => (Some(problem), Vec::new()),
            Ok(result) => {
                longest = longest.max(result.length());
                warm_up.merge(&result.warm_up);
                (result.problem(stopped_after), result.recorders)
            }
        };
        let mut all = Recorder::new(load.targets.len(), Duration::ZERO);
        for recorder in &stripe_recorders {
            all.merge(recorder);
        }
        stripes.push(StripeReport {
            stripe,
            name: collected.name,
            counts: all.counts,
            lag_ms: Summary::from_histogram(&all.lag),
            problem,
        });
        recorders.extend(stripe_recorders.into_iter().map(Box::new));
    }
    let length = match stopped_after {
        Some(_) => longest.unwrap_or(planned),
        None => planned,
    };
    let input = ReportInput {
        plan: load.plan.clone(),
        targets: &load.targets,
        started_at: load.start_at + Duration::from_secs_f64(load.plan.warm_up_seconds),
        length,
        expected: load.plan.expected(length),
    };
    LoadReport {
        stripes,
        warm_up: (load.plan.warm_up_seconds > 0.0).then_some(warm_up),
        ..report_builder::build(input, &recorders)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fastrand::Rng;
    use http::HeaderValue;
    use jiff::Timestamp;

    use super::{
        super::{
            arrivals::Stripe,
            exchange::ExchangeDetails,
            failure::Failure,
            mix::{Mix, Protocol},
            network::Network,
            plan::Plan,
            record::CompletedRequest,
            report::{PlanReport, StageReport},
            schedule::{Schedule, Spacing},
            segment::Segment,
            slowest::Slowest,
            target::Expectations,
        },
        *,
    };

    /// Returns a plan of 300.3 requests per second to two targets, with two threads per stripe.
    fn plan() -> Plan {
        let targets = ["3 GET http://h/a", "1 PUT http://h/b"].map(|target| target.parse().unwrap());
        Plan {
            schedule: Schedule::constant("300.3".parse().unwrap(), Duration::from_millis(6100)),
            warm_up: Duration::ZERO,
            mix: Mix::new(targets.to_vec(), &[], &Bytes::new(), Protocol::Http1).unwrap(),
            network: Network::default(),
            expectations: Expectations::default(),
            timeout: Duration::from_secs(1),
            connections: 100,
            max_in_flight: 1000,
            max_connection_age: None,
            max_idle: Duration::from_secs(2),
            slowest: 5,
            threads: Some(2),
        }
    }

    fn load() -> SharedLoad {
        SharedLoad::new(&plan(), 3, Timestamp::from_second(1_800_000_000).unwrap())
    }

    /// Returns possible measurements of one thread, with every kind of value that a recorder contains.
    fn measured(stripe: Stripe) -> Recorder {
        let plan = plan();
        let mut random = Rng::with_seed(stripe.first);
        let mut recorder = Recorder::new(2, plan.timeout);
        recorder.slowest = Slowest::new(plan.slowest);
        for arrival in plan.schedule.arrivals(stripe) {
            let target = plan.mix.choose(arrival.index);
            recorder.record_sent(arrival.at, target, Duration::from_micros(random.u64(1..500)));
            let latency = Duration::from_nanos(random.u64(1_000..3_000_000_000) / random.u64(1..1000));
            let fails = random.u8(..) < 10;
            recorder.record_completed(CompletedRequest {
                intended: arrival.at,
                target,
                latency,
                result: if fails { Err(Failure::timeout()) } else { Ok(()) },
                details: ExchangeDetails {
                    status: Some(if fails { 500 } else { 200 }),
                    served_by: HeaderValue::from_str(&format!("pod-{}", random.u8(0..3))).ok(),
                    connection_wait: Some(latency / 10),
                    connect_time: Some(latency / 20),
                    body_bytes: 11,
                    ..ExchangeDetails::default()
                },
            });
            recorder.intervals.compact(arrival.at);
        }
        recorder.record_dropped(Duration::from_secs(2), 1, Duration::from_secs(2));
        recorder.opened = stripe.first + 1;
        recorder
    }

    /// Returns the measurements of the two threads of a stripe.
    fn threads(number: u64) -> impl Iterator<Item = Recorder> {
        (0..2).map(move |thread| measured(stripe(number).thread(thread, 2)))
    }

    fn result(number: u64) -> StripeResult {
        StripeResult::new(stripe(number), load(), None, threads(number).collect())
    }

    fn stripe(number: u64) -> Stripe {
        Stripe {
            first: number,
            count: 3,
        }
    }

    /// Returns the result as in the log of a pod.
    fn log(result: &StripeResult) -> String {
        format!(
            "stripe 1 of 3: ready\n{}\n",
            serde_json::to_string(result).unwrap()
        )
    }

    fn collected(result: Result<StripeResult, String>) -> CollectedStripe {
        CollectedStripe {
            name: "pod".to_owned(),
            result,
        }
    }

    #[test]
    fn merged_stripes_give_exactly_the_report_of_one_process() {
        let results = (0..3).map(|stripe| collected(StripeResult::find(&log(&result(stripe))).unwrap()));
        let load = load().as_read().unwrap();
        let mut merged = merge(&load, results.collect(), None);
        let stripes = std::mem::take(&mut merged.stripes);
        assert!(
            stripes.iter().all(|stripe| stripe.problem.is_none()),
            "{stripes:?}"
        );

        let recorders: Vec<_> = (0..3).flat_map(threads).map(Box::new).collect();
        let plan = plan();
        let length = plan.schedule.duration();
        let input = ReportInput {
            plan: PlanReport::new(&plan, 6),
            targets: plan.mix.targets(),
            started_at: load.start_at,
            length,
            expected: plan.schedule.expected(length),
        };
        let one = report_builder::build(input, &recorders);
        assert_eq!(
            serde_json::to_string_pretty(&merged).unwrap(),
            serde_json::to_string_pretty(&one).unwrap()
        );
        assert_eq!(one.slowest.len(), plan.slowest);
        let arrivals = plan.schedule.arrivals(Stripe::WHOLE).count() as u64;
        assert_eq!(one.requests.sent, arrivals);
        assert_eq!(
            stripes.iter().map(|stripe| stripe.counts.sent).sum::<u64>(),
            arrivals
        );
    }

    #[test]
    fn errors_of_invalid_results_give_the_reason() {
        let valid = log(&result(0));
        let cut = &valid[..valid.len() - 10];
        let other_schema = valid.replace("loadtest.stripe/v1", "loadtest.stripe/v9");
        let out_of_range = valid.replace(r#""stripe":0"#, r#""stripe":3"#);
        let extra_target = valid.replacen(
            r#""targets":[{"#,
            r#""targets":[{"weight":1,"method":"GET","url":"http://h/"},{"#,
            1,
        );
        let bad_histogram = valid.replacen("HISTF", "HISTX", 1);
        for (text, expected) in [
            (cut, "cut off"),
            (&other_schema, "the schema loadtest.stripe/v9"),
            (&out_of_range, "inconsistent"),
            (&extra_target, "inconsistent"),
            (&bad_histogram, "cannot be read"),
        ] {
            let error = StripeResult::find(text).unwrap().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        assert!(StripeResult::find("loadtest: a log without a result\n").is_none());
    }

    #[test]
    fn a_lost_stripe_has_a_problem_and_the_others_are_reported() {
        let changed = |change: fn(&mut SharedLoad)| {
            let mut result = result(0);
            change(&mut result.load);
            Ok(result)
        };
        let stopped = StripeResult::new(
            stripe(0),
            load(),
            Some(Duration::from_millis(4200)),
            threads(0).collect(),
        );
        for (first, expected, is_counted) in [
            (Err("OOMKilled".to_owned()), "OOMKilled", false),
            (changed(|load| load.version = "9".to_owned()), "version 9", false),
            (
                changed(|load| load.plan.timeout_seconds = 2.0),
                "another plan",
                false,
            ),
            (
                changed(|load| load.start_at += Duration::from_secs(1)),
                "its start",
                false,
            ),
            (
                Ok(StripeResult::late(stripe(0), load(), Duration::from_secs(2))),
                "became ready 2 s after the start",
                false,
            ),
            (Ok(stopped), "stopped after 4.2 s", true),
        ] {
            let report = merge(
                &load(),
                vec![
                    collected(first),
                    collected(Ok(result(1))),
                    collected(Ok(result(2))),
                ],
                None,
            );
            let problem = report.stripes[0].problem.as_deref().unwrap();
            assert!(problem.contains(expected), "{problem}");
            let sum = |stripes: &[StripeReport]| stripes.iter().map(|stripe| stripe.counts.sent).sum::<u64>();
            assert_eq!(report.requests.sent, sum(&report.stripes));
            assert_eq!(
                report.requests.sent > sum(&report.stripes[1..]),
                is_counted,
                "{expected}"
            );
        }
    }

    /// The rate rises from 100 to 300 requests per second in 2 s, and falls to 0 in 4 s.
    #[test]
    fn a_stopped_load_is_as_long_as_its_longest_stripe() {
        let seconds = Duration::from_secs_f64;
        let segment = |length: f64, from: f64, to: f64| Segment {
            length: seconds(length),
            from,
            to,
        };
        let stages = [segment(2.0, 100.0, 300.0), segment(4.0, 300.0, 0.0)];
        let mut load = load();
        load.plan.stages = stages.map(StageReport::from).to_vec();
        load.plan.duration_seconds = 6.0;
        let stopped = |number: u64, after: f64| {
            collected(Ok(StripeResult::new(
                stripe(number),
                load.clone(),
                Some(seconds(after)),
                threads(number).collect(),
            )))
        };
        let lost = || collected(Err("its pod never ran".to_owned()));
        let late = || collected(Ok(StripeResult::late(stripe(0), load.clone(), seconds(1.0))));
        for (results, length) in [
            (vec![stopped(0, 3.0), lost(), stopped(2, 2.5)], 3.0),
            // Stripe 2 got the signal while it drained.
            (vec![stopped(0, 3.0), lost(), stopped(2, 7.0)], 6.0),
            (vec![lost(), lost(), lost()], 1.5),
            (vec![late(), stopped(1, 2.5), stopped(2, 2.0)], 2.5),
            (vec![late(), lost(), lost()], 1.5),
        ] {
            let has_sent =
                |one: &CollectedStripe| one.result.as_ref().is_ok_and(|result| result.length().is_some());
            let is_lost: Vec<_> = results.iter().map(|one| !has_sent(one)).collect();
            let report = merge(&load, results, Some(seconds(1.5)));
            let requests = Schedule::from_segments(&stages, Spacing::Even).expected(seconds(length));
            let reported = (report.duration_seconds, report.rates.requested * length);
            assert!(
                (reported.0 - length).abs() < 1e-9 && (reported.1 - requests).abs() < 1e-6,
                "{reported:?}, expected {length} s and {requests} requests"
            );
            for (stripe, is_lost) in report.stripes.iter().zip(is_lost) {
                assert_eq!(stripe.problem.is_some(), is_lost, "{stripe:?}");
            }
        }
    }

    #[test]
    fn a_stripe_that_stopped_long_before_the_user_stopped_the_load_has_a_problem() {
        let load = load();
        let stopped = |number: u64, after: u64| {
            collected(Ok(StripeResult::new(
                stripe(number),
                load.clone(),
                Some(Duration::from_secs(after)),
                threads(number).collect(),
            )))
        };
        let results = vec![stopped(0, 5), stopped(1, 59), stopped(2, 61)];
        let report = merge(&load, results, Some(Duration::from_mins(1)));
        let problems: Vec<_> = report
            .stripes
            .iter()
            .map(|stripe| stripe.problem.as_deref())
            .collect();
        assert_eq!(problems, [Some("it was stopped after 5 s"), None, None]);
    }
}
