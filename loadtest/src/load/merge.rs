//! A load that several processes send together, a stripe each: what one of them measured, and the report of all as one.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Plan,
    record::{Counts, Recorder},
    report::{self, LoadReport, PlanReport, Sent, Summary},
    schedule::Stripe,
    target::Target,
};
use crate::units::short;

/// The version of [`StripeResult`]'s JSON form.
const SCHEMA: &str = "loadtest.stripe/v1";

/// How a stripe's result begins in JSON: what tells it from other lines.
const MARK: &str = r#"{"schema":"loadtest.stripe/"#;

/// What the stripes of one load have in common.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SharedLoad {
    /// The version of this program.
    pub version: String,
    /// When the first request of all is due.
    pub start_at: Timestamp,
    /// How many stripes there are.
    pub stripes: u64,
    /// What all of them together were asked for.
    pub plan: PlanReport,
    /// What is requested.
    pub targets: Vec<Target>,
}

impl SharedLoad {
    /// Of `stripes` that carry out `plan` from `start_at` on.
    #[must_use]
    pub fn of(plan: &Plan, stripes: u64, start_at: Timestamp) -> Self {
        let all = usize::try_from(stripes).unwrap_or(usize::MAX);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            start_at,
            stripes,
            plan: PlanReport::of(plan, plan.thread_count().saturating_mul(all)),
            targets: plan.mix.targets().to_vec(),
        }
    }

    /// As another process reads it: numbers can lose their last bit on the way through JSON.
    ///
    /// # Errors
    /// Does not happen: what was written is read again.
    pub fn as_read(&self) -> serde_json::Result<Self> {
        serde_json::from_str(&serde_json::to_string(self)?)
    }

    /// Why the other is not this load.
    #[must_use]
    pub fn differs_from(&self, other: &Self) -> Option<String> {
        if self == other {
            None
        } else if self.version != other.version {
            Some(format!(
                "it is of version {}, not {}",
                other.version, self.version
            ))
        } else if self.start_at != other.start_at {
            Some(format!("its start was {}, not {}", other.start_at, self.start_at))
        } else {
            Some("it carried out another plan".to_owned())
        }
    }
}

/// What one stripe measured, complete: results of all stripes give the same report as one process would.
#[derive(Debug, Serialize, Deserialize)]
pub struct StripeResult {
    schema: String,
    /// Its number, from 0 on.
    pub stripe: u64,
    /// What it took part in.
    pub load: SharedLoad,
    /// How long after the start it came up, in seconds. It has sent nothing then: that would have moved the load.
    late_seconds: Option<f64>,
    /// When it was stopped, in seconds since the start, where that was before its end.
    stopped_after_seconds: Option<f64>,
    /// Of each of its threads.
    recorders: Vec<Recorder>,
}

impl StripeResult {
    pub(super) fn new(
        stripe: Stripe,
        load: SharedLoad,
        stopped_after: Option<Duration>,
        recorders: Vec<Recorder>,
    ) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            stripe: stripe.first,
            load,
            late_seconds: None,
            stopped_after_seconds: stopped_after.map(|after| after.as_secs_f64()),
            recorders,
        }
    }

    /// Of a stripe that came up so late that it sent nothing.
    #[must_use]
    pub fn late(stripe: Stripe, load: SharedLoad, by: Duration) -> Self {
        Self {
            late_seconds: Some(by.as_secs_f64()),
            ..Self::new(stripe, load, None, Vec::new())
        }
    }

    /// The result among the lines of `text`; `None` where there is none.
    ///
    /// # Errors
    /// When it is cut off, of another version of the form, or contradicts itself.
    #[must_use]
    pub fn find(text: &str) -> Option<Result<Self, String>> {
        let line = text.lines().find(|line| line.starts_with(MARK))?;
        Some(Self::read(line))
    }

    fn read(line: &str) -> Result<Self, String> {
        if !line.starts_with(&format!(r#"{{"schema":"{SCHEMA}""#)) {
            let form: String = line.chars().skip(11).take_while(|it| *it != '"').collect();
            return Err(format!("its result is in the form {form}, not {SCHEMA}"));
        }
        let result: Self = serde_json::from_str(line).map_err(|error| {
            if error.is_eof() {
                format!("its result is cut off after {} bytes", line.len())
            } else {
                format!("its result cannot be read: {error}")
            }
        })?;
        let targets = result.load.targets.len();
        let is_whole = result.stripe < result.load.stripes
            && result
                .recorders
                .iter()
                .all(|recorder| recorder.targets.len() == targets);
        is_whole
            .then_some(result)
            .ok_or_else(|| "its result contradicts itself".to_owned())
    }

    /// Why the load is not what it was to be, as far as this stripe goes.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let late = self.late_seconds.map(|seconds| {
            format!(
                "it came up {} s after the start, and sent nothing",
                short(seconds)
            )
        });
        let stopped = self
            .stopped_after_seconds
            .map(|seconds| format!("it was stopped after {} s", short(seconds)));
        late.or(stopped)
    }
}

/// One of the processes that sent a load together.
#[derive(Clone, Debug, Serialize)]
pub struct StripeReport {
    /// Its number, from 0 on.
    pub stripe: u64,
    /// Where it ran, or what its result was read from.
    pub name: String,
    /// What became of its requests, as far as is known.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its own lag.
    pub lag_ms: Summary,
    /// Why the load was not what it was to be; nothing for a stripe that did its part.
    pub problem: Option<String>,
}

/// What is known of one stripe.
#[derive(Debug)]
pub struct Part {
    /// Where it ran, or what its result was read from.
    pub name: String,
    /// Its result, or why there is none.
    pub result: Result<StripeResult, String>,
}

/// The report on `load`, of the results of its stripes, in their order. Exact: it is what one process would have reported
/// whose threads had measured the same.
#[must_use]
pub fn merge(load: &SharedLoad, parts: Vec<Part>) -> LoadReport {
    let mut recorders = Vec::new();
    let mut stripes = Vec::new();
    for (stripe, part) in (0..).zip(parts) {
        let (problem, own) = match part.result {
            Err(problem) => (Some(problem), Vec::new()),
            Ok(result) => match load.differs_from(&result.load) {
                Some(difference) => (Some(difference), Vec::new()),
                None => (result.problem(), result.recorders),
            },
        };
        let mut all = Recorder::new(load.targets.len(), Duration::ZERO);
        for recorder in &own {
            all.merge(recorder);
        }
        stripes.push(StripeReport {
            stripe,
            name: part.name,
            counts: all.counts,
            lag_ms: Summary::of(&all.lag),
            problem,
        });
        recorders.extend(own.into_iter().map(Box::new));
    }
    let sent = Sent {
        plan: load.plan.clone(),
        targets: &load.targets,
        started_at: load.start_at,
        length: Duration::from_secs_f64(load.plan.duration_seconds),
        expected: load.plan.expected(),
    };
    LoadReport {
        stripes,
        ..report::build(sent, &recorders)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use fastrand::Rng;

    use super::{
        super::{
            exchange::Traits,
            failure::Failure,
            mix::{Mix, Protocol},
            network::Network,
            record::Ended,
            schedule::Schedule,
            target::Expectations,
        },
        *,
    };

    /// 300 requests a second to two targets, by two threads in each stripe.
    fn plan() -> Plan {
        let targets = ["3 GET http://h/a", "1 PUT http://h/b"].map(|target| target.parse().unwrap());
        Plan {
            schedule: Schedule::new("300.3".parse().unwrap(), Duration::from_millis(6100)),
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
        SharedLoad::of(&plan(), 3, Timestamp::from_second(1_800_000_000).unwrap())
    }

    /// What one thread could have measured: every kind of thing that a recorder keeps.
    fn measured(stripe: Stripe) -> Recorder {
        let plan = plan();
        let mut random = Rng::with_seed(stripe.first);
        let mut recorder = Recorder::new(2, plan.timeout);
        for arrival in plan.schedule.arrivals(stripe) {
            let target = plan.mix.choose(arrival.index);
            recorder.sent(arrival.at, target, Duration::from_micros(random.u64(1..500)));
            let latency = Duration::from_nanos(random.u64(1_000..3_000_000_000) / random.u64(1..1000));
            let fails = random.u8(..) < 10;
            recorder.ended(Ended {
                intended: arrival.at,
                target,
                latency,
                result: if fails { Err(Failure::timeout()) } else { Ok(()) },
                traits: Traits {
                    status: Some(if fails { 500 } else { 200 }),
                    served_by: Some(format!("pod-{}", random.u8(0..3))),
                    connection_wait: Some(latency / 10),
                    connect_time: Some(latency / 20),
                    body_bytes: 11,
                    ..Traits::default()
                },
            });
            recorder.intervals.compact(arrival.at);
        }
        recorder.dropped(Duration::from_secs(2), 1, Duration::from_secs(2));
        recorder.opened = stripe.first + 1;
        recorder
    }

    fn threads(stripe: u64) -> impl Iterator<Item = Recorder> {
        let stripe = Stripe { first: stripe, of: 3 };
        (0..2).map(move |number| measured(stripe.thread(number, 2)))
    }

    fn result(stripe: u64) -> StripeResult {
        let whose = Stripe { first: stripe, of: 3 };
        StripeResult::new(whose, load(), None, threads(stripe).collect())
    }

    /// As it comes out of a pod's log.
    fn line(result: &StripeResult) -> String {
        format!(
            "stripe 1 of 3: ready\n{}\n",
            serde_json::to_string(result).unwrap()
        )
    }

    fn part(result: Result<StripeResult, String>) -> Part {
        Part {
            name: "pod".to_owned(),
            result,
        }
    }

    #[test]
    fn stripes_that_are_merged_give_the_report_of_one_process_exactly() {
        let parts = (0..3).map(|stripe| part(StripeResult::find(&line(&result(stripe))).unwrap()));
        let load = load().as_read().unwrap();
        let mut merged = merge(&load, parts.collect());
        let stripes = std::mem::take(&mut merged.stripes);
        assert!(
            stripes.iter().all(|stripe| stripe.problem.is_none()),
            "{stripes:?}"
        );

        let recorders: Vec<_> = (0..3).flat_map(threads).map(Box::new).collect();
        let plan = plan();
        let length = plan.schedule.duration();
        let sent = Sent {
            plan: PlanReport::of(&plan, 6),
            targets: plan.mix.targets(),
            started_at: load.start_at,
            length,
            expected: plan.schedule.expected(length),
        };
        let one = report::build(sent, &recorders);
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
            (&other, "in the form loadtest.stripe/v9"),
            (&outside, "contradicts itself"),
            (&targets, "contradicts itself"),
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
        let whose = Stripe { first: 0, of: 3 };
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
            );
            let problem = report.stripes[0].problem.as_deref().unwrap();
            assert!(problem.contains(says), "{problem}");
            let sum = |stripes: &[StripeReport]| stripes.iter().map(|stripe| stripe.counts.sent).sum::<u64>();
            assert_eq!(report.requests.sent, sum(&report.stripes));
            assert_eq!(report.requests.sent > sum(&report.stripes[1..]), counts, "{says}");
        }
    }
}
