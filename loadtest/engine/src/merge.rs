//! The report of a load that several processes sent together, a stripe each, as one.

use std::time::Duration;

use super::{
    record::Recorder,
    report::{self, LoadReport, ReportInput, StripeReport, Summary},
    stripe_result::{SharedLoad, StripeResult},
};

/// What is known of one stripe.
#[derive(Debug)]
pub struct CollectedStripe {
    /// Where it ran, or what its result was read from.
    pub name: String,
    /// Its result, or why there is none.
    pub result: Result<StripeResult, String>,
}

/// The report on `load`, of the results of its stripes, in their order. Exact: it is what one process would have reported
/// whose threads had measured the same. A load that the user stopped is as long as the longest of its stripes, and
/// `stopped_after`, since its start, where no result says how long that is.
#[must_use]
pub fn merge(load: &SharedLoad, parts: Vec<CollectedStripe>, stopped_after: Option<Duration>) -> LoadReport {
    let planned = Duration::from_secs_f64(load.plan.duration_seconds);
    let mut longest = None;
    let mut recorders = Vec::new();
    let mut stripes = Vec::new();
    for (stripe, part) in (0..).zip(parts) {
        let result = part
            .result
            .and_then(|result| match load.differs_from(&result.load) {
                Some(difference) => Err(difference),
                None => Ok(result),
            });
        let (problem, own) = match result {
            Err(problem) => (Some(problem), Vec::new()),
            Ok(result) => {
                longest = longest.max(result.length());
                (result.problem(stopped_after), result.recorders)
            }
        };
        let mut all = Recorder::new(load.targets.len(), Duration::ZERO);
        for recorder in &own {
            all.merge(recorder);
        }
        stripes.push(StripeReport {
            stripe,
            name: part.name,
            counts: all.counts,
            lag_ms: Summary::from_histogram(&all.lag),
            problem,
        });
        recorders.extend(own.into_iter().map(Box::new));
    }
    let length = stopped_after.map_or(planned, |after| longest.unwrap_or(after).min(planned));
    let input = ReportInput {
        plan: load.plan.clone(),
        targets: &load.targets,
        started_at: load.start_at,
        length,
        expected: load.plan.expected(length),
    };
    LoadReport {
        stripes,
        ..report::build(input, &recorders)
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
            target::Expectations,
        },
        *,
    };

    /// 300 requests a second to two targets, by two threads in each stripe.
    fn plan() -> Plan {
        let targets = ["3 GET http://h/a", "1 PUT http://h/b"].map(|target| target.parse().unwrap());
        Plan {
            schedule: Schedule::constant("300.3".parse().unwrap(), Duration::from_millis(6100)),
            mix: Mix::new(targets.to_vec(), &[], &Bytes::new(), Protocol::Http1).unwrap(),
            network: Network::default(),
            expectations: Expectations::default(),
            timeout: Duration::from_secs(1),
            connections: 100,
            max_in_flight: 1000,
            max_connection_age: None,
            max_idle: Duration::from_secs(2),
            threads: Some(2),
        }
    }

    fn load() -> SharedLoad {
        SharedLoad::new(&plan(), 3, Timestamp::from_second(1_800_000_000).unwrap())
    }

    /// What one thread could have measured: every kind of thing that a recorder keeps.
    fn measured(stripe: Stripe) -> Recorder {
        let plan = plan();
        let mut random = Rng::with_seed(stripe.first);
        let mut recorder = Recorder::new(2, plan.timeout);
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

    fn threads(stripe: u64) -> impl Iterator<Item = Recorder> {
        let stripe = Stripe { first: stripe, count: 3 };
        (0..2).map(move |number| measured(stripe.thread(number, 2)))
    }

    fn result(stripe: u64) -> StripeResult {
        let whose = Stripe { first: stripe, count: 3 };
        StripeResult::new(whose, load(), None, threads(stripe).collect())
    }

    /// As it comes out of a pod's log.
    fn line(result: &StripeResult) -> String {
        format!(
            "stripe 1 of 3: ready\n{}\n",
            serde_json::to_string(result).unwrap()
        )
    }

    fn part(result: Result<StripeResult, String>) -> CollectedStripe {
        CollectedStripe {
            name: "pod".to_owned(),
            result,
        }
    }

    #[test]
    fn stripes_that_are_merged_give_the_report_of_one_process_exactly() {
        let parts = (0..3).map(|stripe| part(StripeResult::find(&line(&result(stripe))).unwrap()));
        let load = load().as_read().unwrap();
        let mut merged = merge(&load, parts.collect(), None);
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
        let one = report::build(input, &recorders);
        assert_eq!(
            serde_json::to_string_pretty(&merged).unwrap(),
            serde_json::to_string_pretty(&one).unwrap()
        );
        let arrivals = plan.schedule.arrivals(Stripe::WHOLE).count() as u64;
        assert_eq!(one.requests.sent, arrivals);
        assert_eq!(
            stripes.iter().map(|stripe| stripe.counts.sent).sum::<u64>(),
            arrivals
        );
    }

    #[test]
    fn a_result_that_is_not_whole_says_what_is_wrong_with_it() {
        let whole = line(&result(0));
        let cut = &whole[..whole.len() - 10];
        let other = whole.replace("loadtest.stripe/v1", "loadtest.stripe/v9");
        let outside = whole.replace(r#""stripe":0"#, r#""stripe":3"#);
        let targets = whole.replacen(
            r#""targets":[{"#,
            r#""targets":[{"weight":1,"method":"GET","url":"http://h/"},{"#,
            1,
        );
        let histogram = whole.replacen("HISTF", "HISTX", 1);
        for (text, says) in [
            (cut, "cut off"),
            (&other, "the schema loadtest.stripe/v9"),
            (&outside, "inconsistent"),
            (&targets, "inconsistent"),
            (&histogram, "cannot be read"),
        ] {
            let error = StripeResult::find(text).unwrap().unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(StripeResult::find("loadtest: nobody is there\n").is_none());
    }

    #[test]
    fn a_lost_stripe_is_named_and_the_rest_is_reported() {
        let changed = |change: fn(&mut SharedLoad)| {
            let mut result = result(0);
            change(&mut result.load);
            Ok(result)
        };
        let whose = Stripe { first: 0, count: 3 };
        let stopped = StripeResult::new(
            whose,
            load(),
            Some(Duration::from_millis(4200)),
            threads(0).collect(),
        );
        for (first, says, counts) in [
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
                Ok(StripeResult::late(whose, load(), Duration::from_secs(2))),
                "came up 2 s after the start",
                false,
            ),
            (Ok(stopped), "stopped after 4.2 s", true),
        ] {
            let report = merge(
                &load(),
                vec![part(first), part(Ok(result(1))), part(Ok(result(2)))],
                None,
            );
            let problem = report.stripes[0].problem.as_deref().unwrap();
            assert!(problem.contains(says), "{problem}");
            let sum = |stripes: &[StripeReport]| stripes.iter().map(|stripe| stripe.counts.sent).sum::<u64>();
            assert_eq!(report.requests.sent, sum(&report.stripes));
            assert_eq!(report.requests.sent > sum(&report.stripes[1..]), counts, "{says}");
        }
    }

    /// Up from 100 to 300 requests a second in 2 s, and down to 0 in 4 s.
    #[test]
    fn a_load_that_was_stopped_is_as_long_as_its_longest_stripe() {
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
        let stopped = |stripe: u64, after: f64| {
            let whose = Stripe { first: stripe, count: 3 };
            part(Ok(StripeResult::new(
                whose,
                load.clone(),
                Some(seconds(after)),
                threads(stripe).collect(),
            )))
        };
        let lost = || part(Err("its pod never ran".to_owned()));
        let late = || {
            let whose = Stripe { first: 0, count: 3 };
            part(Ok(StripeResult::late(whose, load.clone(), seconds(1.0))))
        };
        for (parts, length) in [
            (vec![stopped(0, 3.0), lost(), stopped(2, 2.5)], 3.0),
            // Its signal came while it drained.
            (vec![stopped(0, 3.0), lost(), stopped(2, 7.0)], 6.0),
            (vec![lost(), lost(), lost()], 1.5),
            (vec![late(), stopped(1, 2.5), stopped(2, 2.0)], 2.5),
            (vec![late(), lost(), lost()], 1.5),
        ] {
            let sent = |part: &CollectedStripe| part.result.as_ref().is_ok_and(|result| result.length().is_some());
            let is_lost: Vec<_> = parts.iter().map(|part| !sent(part)).collect();
            let report = merge(&load, parts, Some(seconds(1.5)));
            let expected = Schedule::from_segments(&stages, Spacing::Even).expected(seconds(length));
            let seen = (report.duration_seconds, report.rates.requested * length);
            assert!(
                (seen.0 - length).abs() < 1e-9 && (seen.1 - expected).abs() < 1e-6,
                "{seen:?} where {length} s and {expected} requests are right"
            );
            for (stripe, is_lost) in report.stripes.iter().zip(is_lost) {
                assert_eq!(stripe.problem.is_some(), is_lost, "{stripe:?}");
            }
        }
    }

    #[test]
    fn a_stripe_that_ended_long_before_the_user_stopped_the_rest_is_named() {
        let load = load();
        let stopped = |stripe: u64, after: u64| {
            let whose = Stripe { first: stripe, count: 3 };
            let after = Some(Duration::from_secs(after));
            part(Ok(StripeResult::new(
                whose,
                load.clone(),
                after,
                threads(stripe).collect(),
            )))
        };
        let parts = vec![stopped(0, 5), stopped(1, 59), stopped(2, 61)];
        let report = merge(&load, parts, Some(Duration::from_mins(1)));
        let problems: Vec<_> = report
            .stripes
            .iter()
            .map(|stripe| stripe.problem.as_deref())
            .collect();
        assert_eq!(problems, [Some("it was stopped after 5 s"), None, None]);
    }
}
