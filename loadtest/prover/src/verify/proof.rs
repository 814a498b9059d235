//! The tests that judge a proof of scaling: `pods-scale`, `nodes-scale` and `response-time`. Pure functions.

use engine::units::short;
use jiff::Timestamp;

use super::{
    outcome::Judgement,
    readings::{DURATION_METRIC, Reading},
};
use crate::prove::{Assertion, AssertionVerdict, Expected, Phase, ScaleRun, ScaleVerdict};

/// The assertions of a proof that are about nodes. All others are about pods.
const ABOUT_NODES: [&str; 8] = [
    "nodes-added",
    "node-events-added",
    "nodes-ready",
    "nodes-spread",
    "pods-placed",
    "nodes-served",
    "nodes-removed",
    "node-events-removed",
];

/// The time at the end of the plateau over which the values of the metric are averaged, as a share of the time that a value covers.
const COMPARED_SHARE: f64 = 0.4;

/// How much more than the load tool the service may measure: 1 ms is the resolution of the API, which counts in thousandths of a
/// second, and 10 % are the noise of the averages over different seconds.
const EXCESS_MS: f64 = 1.0;
const EXCESS_SHARE: f64 = 0.1;

/// The bounds of the average response time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ResponseTimeBounds {
    /// The largest average, in milliseconds.
    pub objective_ms: f64,
    /// How much more than the service the load tool may measure, in milliseconds: the network, the load balancer, and the opening of
    /// connections, which the service does not see.
    pub max_difference_ms: f64,
    /// The time that a value of the custom metric covers, in seconds: the window of its rule, and a scrape interval.
    pub covered_seconds: f64,
}

impl ResponseTimeBounds {
    fn compared_seconds(&self) -> f64 {
        self.covered_seconds * COMPARED_SHARE
    }

    /// Returns the shortest plateau of a proof whose response time is judged, in seconds: the values at its end cover no earlier
    /// second.
    #[must_use]
    pub fn shortest_plateau_seconds(&self) -> f64 {
        self.compared_seconds() + self.covered_seconds
    }
}

/// The test `pods-scale`: every assertion of the proof that is not about nodes, and the pods of the `ReplicaSet`.
#[must_use]
pub fn pods_scale(run: &ScaleRun, readings: &[Reading]) -> Judgement {
    let about_pods = |assertion: &&Assertion| !ABOUT_NODES.contains(&assertion.name);
    let judged = judge(run, run.assertions.iter().filter(about_pods));
    let Some(expected) = run.timeline.expected.first() else {
        return judged;
    };
    let mut judged = add(judged, replica_set(run, expected, readings));
    if let Some(time) = run.time_to_scale.first().and_then(|time| time.last())
        && let Some(ready) = run.timeline.marks.plateau_began
    {
        judged = judged.with(format!("all pods ready, the last one {}", time.pod), ready, "s");
    }
    judged
}

/// The test `nodes-scale`: every assertion of the proof about nodes.
#[must_use]
pub fn nodes_scale(run: &ScaleRun) -> Judgement {
    let about_nodes = |assertion: &&Assertion| ABOUT_NODES.contains(&assertion.name);
    judge(run, run.assertions.iter().filter(about_nodes))
}

/// Judges a part of the assertions.
fn judge<'a>(run: &ScaleRun, assertions: impl Iterator<Item = &'a Assertion>) -> Judgement {
    let (mut held, mut broken, mut unreached) = (Vec::new(), Vec::new(), Vec::new());
    for assertion in assertions {
        let hpa = assertion
            .hpa
            .as_deref()
            .map(|hpa| format!(" {hpa}"))
            .unwrap_or_default();
        let text = format!("{}{hpa}: {}", assertion.name, assertion.observed);
        match assertion.verdict {
            AssertionVerdict::Passed => held.push(text),
            AssertionVerdict::Failed => broken.push(format!("{text} (expected: {})", assertion.expected)),
            AssertionVerdict::NotReached => unreached.push(format!("{}{hpa}", assertion.name)),
        }
    }
    if run.verdict == ScaleVerdict::Interrupted {
        broken.insert(0, "the proof was stopped before its end".to_owned());
    }
    if broken.is_empty() && unreached.is_empty() && !held.is_empty() {
        return Judgement::passed(held.join("; "));
    }
    let names: Vec<&str> = broken
        .iter()
        .map(|text| text.split(": ").next().unwrap_or_default())
        .collect();
    let reason = if names.is_empty() {
        "the proof did not get so far".to_owned()
    } else {
        format!("does not hold: {}", names.join(", "))
    };
    if !unreached.is_empty() {
        broken.push(format!("not reached: {}", unreached.join(", ")));
    }
    if held.is_empty() && broken.is_empty() {
        broken.push("the proof has no such assertion".to_owned());
    }
    Judgement::failed(reason, broken.join("; "))
}

/// Adds a second judgement to a first one.
fn add(first: Judgement, second: Judgement) -> Judgement {
    let join = |one: String, other: String| {
        if one.is_empty() {
            other
        } else {
            format!("{one}; {other}")
        }
    };
    let failure = match (first.failure, second.failure) {
        (Some(one), Some(other)) => Some(join(one, other)),
        (one, other) => one.or(other),
    };
    Judgement {
        failure,
        seen: join(first.seen, second.seen),
        figures: [first.figures, second.figures].concat(),
    }
}

/// Returns the seconds since the load began.
fn since(began: Timestamp, at: Timestamp) -> f64 {
    at.duration_since(began).as_secs_f64()
}

/// Judges the pods of the `ReplicaSet`: as many as expected at the end of the plateau, and the minimum at the end.
fn replica_set(run: &ScaleRun, expected: &Expected, readings: &[Reading]) -> Judgement {
    let marks = run.timeline.marks;
    let (Some(began), Some(end), Some(_)) = (run.began_at, marks.plateau_ended, marks.back) else {
        return Judgement::failed(
            "the ReplicaSet was not judged",
            "the proof did not get to the end of the plateau and back",
        );
    };
    let at_peak = readings.iter().rfind(|reading| since(began, reading.at) <= end);
    let peak = at_peak.map(|reading| reading.replica_set.clone());
    let rest = readings.last().map(|reading| reading.replica_set.clone());
    let (Some(Ok(peak)), Some(Ok(rest))) = (peak.clone(), rest.clone()) else {
        let mut problems = [peak, rest].into_iter().flatten().filter_map(Result::err);
        let problem = problems
            .next_back()
            .unwrap_or_else(|| "it was never read".to_owned());
        return Judgement::failed("the ReplicaSet was not judged", problem);
    };
    let text = format!(
        "ReplicaSet {}: {} of {} ready at the end of the plateau, {} of {} at the end",
        peak.name, peak.ready, peak.wanted, rest.ready, rest.wanted
    );
    let follows = (peak.ready, peak.wanted) == (expected.replicas, expected.replicas)
        && (rest.ready, rest.wanted) == (expected.min, expected.min)
        && peak.name == rest.name;
    if follows {
        Judgement::passed(text)
    } else {
        let reason = format!(
            "the ReplicaSet does not follow the load to {} pods and back to {}",
            expected.replicas, expected.min
        );
        Judgement::failed(reason, text)
    }
}

/// The test `response-time`: the averages at the custom metrics API and in the load tool.
#[must_use]
pub fn response_time(run: &ScaleRun, readings: &[Reading], bounds: ResponseTimeBounds) -> Judgement {
    let unmeasured = |why: &str| Judgement::failed("the response time was not measured", why);
    let (Some(began), Some(step)) = (run.began_at, run.step.as_ref()) else {
        return unmeasured("the proof sent no load");
    };
    let marks = run.timeline.marks;
    let (Some(plateau), Some(end)) = (marks.plateau_began, marks.plateau_ended) else {
        let at_most = run
            .timeline
            .of_phase(Phase::ScalingUp)
            .flat_map(|sample| sample.hpas.values());
        let at_most = at_most.map(|hpa| hpa.ready).max().unwrap_or(0);
        return unmeasured(&format!(
            "the pods never reached their number under load: at most {at_most} ready"
        ));
    };
    let shortest = bounds.shortest_plateau_seconds();
    if end - plateau < shortest {
        return unmeasured(&format!(
            "the plateau of {} s is shorter than {} s, the time that the values of {DURATION_METRIC} cover",
            short(end - plateau),
            short(shortest)
        ));
    }
    let compared: Vec<&Reading> = readings
        .iter()
        .filter(|reading| (end - bounds.compared_seconds()..=end).contains(&since(began, reading.at)))
        .collect();
    let values: Vec<f64> = compared
        .iter()
        .filter_map(|reading| reading.average_ms.as_ref().ok().copied())
        .collect();
    if values.is_empty() {
        let mut problems = compared
            .iter()
            .filter_map(|reading| reading.average_ms.as_ref().err());
        let problem = problems
            .next_back()
            .map_or("there was no reading", String::as_str);
        return unmeasured(&format!("{DURATION_METRIC} at the custom metrics API: {problem}"));
    }
    #[expect(clippy::cast_precision_loss, reason = "a few readings")]
    let server = values.iter().sum::<f64>() / values.len() as f64;
    // The time that these values cover.
    let Some(tool) = step.latency_between(end - shortest, end).mean else {
        return unmeasured("the load tool has no response in the same time");
    };
    judge_averages(server, tool, bounds)
}

fn judge_averages(server: f64, tool: f64, bounds: ResponseTimeBounds) -> Judgement {
    let ResponseTimeBounds {
        objective_ms,
        max_difference_ms,
        ..
    } = bounds;
    let mut reasons = Vec::new();
    for (name, value) in [("the custom metrics API", server), ("the load tool", tool)] {
        if value > objective_ms {
            reasons.push(format!(
                "the average at {name} is {} ms, more than {} ms",
                short(value),
                short(objective_ms)
            ));
        }
    }
    if tool - server > max_difference_ms {
        reasons.push(format!(
            "the load tool measures {} ms more than the service, more than {} ms",
            short(tool - server),
            short(max_difference_ms)
        ));
    }
    if server > tool * (1.0 + EXCESS_SHARE) + EXCESS_MS {
        reasons.push(
            "the service measures more than the load tool, whose time contains that of the service: they do not measure the same \
             requests, or not in the same unit"
                .to_owned(),
        );
    }
    let at_service = if server < EXCESS_MS {
        format!(
            "{} ms (below the resolution of the API, {} ms)",
            short(server),
            short(EXCESS_MS)
        )
    } else {
        format!("{} ms", short(server))
    };
    let seen = format!("{DURATION_METRIC}: {at_service}; load tool: {} ms", short(tool));
    let judged = if reasons.is_empty() {
        Judgement::passed(seen)
    } else {
        Judgement::failed(reasons.join("; "), seen)
    };
    judged
        .with("average at the custom metrics API", server, "ms")
        .with("average in the load tool", tool, "ms")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(server: f64, tool: f64) -> String {
        let bounds = ResponseTimeBounds {
            objective_ms: 200.0,
            max_difference_ms: 50.0,
            covered_seconds: 75.0,
        };
        judge_averages(server, tool, bounds).failure.unwrap_or_default()
    }

    #[test]
    fn the_averages_must_meet_the_objective_and_agree() {
        assert_eq!(judged(2.0, 5.0), "");
        assert_eq!(judged(2.0, 1.5), "", "the API counts in milliseconds");
        assert_eq!(judged(100.0, 95.0), "", "the averages cover different seconds");
        assert_eq!(
            judged(150.0, 201.0),
            "the average at the load tool is 201 ms, more than 200 ms; the load tool measures 51 ms more than the service, more \
             than 50 ms"
        );
        // Seconds instead of milliseconds.
        let unit = judged(2000.0, 5.0);
        assert!(
            unit.contains("the average at the custom metrics API is 2000 ms")
                && unit.contains("not in the same unit"),
            "{unit}"
        );
    }
}
