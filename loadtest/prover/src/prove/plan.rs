//! Predicts the number of replicas at a rate, and rejects rates without a clear prediction. Pure functions.

use std::time::Duration;

use engine::units::short;
use schemars::JsonSchema;
use serde::Serialize;

use super::metric::ScalingMetric;
use crate::cluster::Hpa;

/// How many more replicas than expected `maxReplicas` must allow, so that the metric decides and not the bound.
const HEADROOM: i32 = 2;

/// The expected scaling of one HPA.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Expected {
    /// The name of the HPA.
    pub hpa: String,
    /// The name of the Deployment that the HPA scales.
    pub deployment: String,
    /// The metric that the HPA scales on.
    pub metric: ScalingMetric,
    /// The minimum number of replicas, which is expected without load.
    pub min: i32,
    /// The maximum number of replicas.
    pub max: i32,
    /// The rate of the load for this HPA, in requests per second.
    pub rate: f64,
    /// The expected number of replicas under this load.
    pub replicas: i32,
    /// How far the metric may exceed its target before the HPA adds replicas, as a ratio.
    pub scale_up_tolerance: f64,
    /// The stabilisation window for scaling down, in seconds.
    #[serde(
        rename = "scale_down_stabilisation_seconds",
        serialize_with = "engine::units::serialize_seconds"
    )]
    #[schemars(with = "f64")]
    pub scale_down_stabilisation: Duration,
}

/// Predicts the scaling of an HPA at `rate` requests per second: `clamp(ceil(rate / target), min, max)` replicas.
///
/// # Errors
/// Returns a message if there is no clear prediction at this rate. The message suggests a better rate.
pub fn predict(hpa: &Hpa, rate: f64) -> Result<Expected, String> {
    let name = &hpa.name;
    let metric = ScalingMetric::of(hpa)?;
    if !hpa.target.starts_with("Deployment/") {
        return Err(format!(
            "{name} scales {}; only Deployments are supported",
            hpa.target
        ));
    }
    if hpa.min < 1 {
        return Err(format!(
            "{name} may scale to 0 pods, and no pod would serve the first requests: set minReplicas to 1 or more"
        ));
    }
    let target = metric.target_per_pod();
    let needed = (rate / target - 1e-9).ceil();
    let (least, most) = (f64::from(hpa.min) * target, f64::from(hpa.max) * target);
    if needed > f64::from(hpa.max) {
        return Err(format!(
            "{} requests/s need more than the {} replicas that {name} allows: use at most {} requests/s",
            short(rate),
            hpa.max,
            short(most)
        ));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and maxReplicas")]
    let replicas = (needed as i32).clamp(hpa.min, hpa.max);
    if replicas <= hpa.min {
        return Err(format!(
            "{} requests/s leave {name} at its minimum of {} replicas: use more than {} requests/s",
            short(rate),
            hpa.min,
            short(least * (1.0 + hpa.scale_up_tolerance))
        ));
    }
    let ambiguous_up_to = stays_up_to(hpa, replicas - 1, target);
    if rate <= ambiguous_up_to {
        let advice = match safe_rate(hpa, replicas) {
            Ok(safe) => format!("use {} requests/s for {replicas} replicas", short(safe)),
            Err(no_rate) => no_rate,
        };
        return Err(format!(
            "{} requests/s may scale {name} to {} or {replicas} replicas: with a tolerance of {} %, it may stay at {} \
             replicas up to {} requests/s; {advice}",
            short(rate),
            replicas - 1,
            short(hpa.scale_up_tolerance * 100.0),
            replicas - 1,
            short(ambiguous_up_to)
        ));
    }
    if hpa.max < replicas + HEADROOM {
        return Err(format!(
            "{name} allows {} replicas, but must allow {} or more, so that the metric and not the bound decides",
            hpa.max,
            replicas + HEADROOM
        ));
    }
    Ok(Expected {
        hpa: name.clone(),
        deployment: hpa.target_name.clone(),
        metric,
        min: hpa.min,
        max: hpa.max,
        rate,
        replicas,
        scale_up_tolerance: hpa.scale_up_tolerance,
        scale_down_stabilisation: hpa.scale_down_stabilisation,
    })
}

/// Returns the maximum rate at which an HPA with this number of replicas may add none.
fn stays_up_to(hpa: &Hpa, replicas: i32, target: f64) -> f64 {
    (1.0 + hpa.scale_up_tolerance) * f64::from(replicas) * target
}

/// Returns the rate in requests per second for exactly `replicas`: the middle of the rates for which the HPA neither stays
/// at one replica less nor adds another, rounded down to an integer if that is one of them. The middle leaves the largest
/// margin for noise in the metric on both sides.
///
/// # Errors
/// Returns a message if the tolerance leaves no such rate. At a tolerance of 10 %, there is none for 11 or more replicas.
pub fn safe_rate(hpa: &Hpa, replicas: i32) -> Result<f64, String> {
    let target = ScalingMetric::of(hpa)?.target_per_pod();
    let bounds = |replicas: i32| {
        let (above, most) = (
            stays_up_to(hpa, replicas - 1, target),
            f64::from(replicas) * target,
        );
        (above < most).then_some((above, most))
    };
    let Some((above, most)) = bounds(replicas) else {
        let fewer = (1..replicas).rev().find(|fewer| bounds(*fewer).is_some());
        return Err(format!(
            "no rate needs exactly {replicas} replicas of {}: with a tolerance of {} %, it may stay at {} replicas up to {} \
             requests/s, and more than {} requests/s need {} replicas; use at most {} replicas, or set \
             spec.behavior.scaleUp.tolerance of the HPA (Kubernetes 1.35 or later)",
            hpa.name,
            short(hpa.scale_up_tolerance * 100.0),
            replicas - 1,
            short(stays_up_to(hpa, replicas - 1, target)),
            short(f64::from(replicas) * target),
            replicas + 1,
            fewer.unwrap_or(1),
        ));
    };
    let middle = f64::midpoint(above, most);
    let whole = middle.floor();
    Ok(if whole > above { whole } else { middle })
}

/// Checks that `tail` requests per second keep the HPA at its minimum, with a margin for noise.
///
/// # Errors
/// Returns a message that suggests a better rate.
pub fn check_tail(expected: &Expected, tail: f64) -> Result<(), String> {
    let most = 0.9 * f64::from(expected.min) * expected.metric.target_per_pod();
    if tail <= most {
        return Ok(());
    }
    Err(format!(
        "a tail of {} requests/s would keep {} above its minimum of {} replicas: use at most {} (--tail-rate)",
        short(tail),
        expected.hpa,
        expected.min,
        short(most)
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cluster::PodsMetric;

    pub(crate) fn hpa() -> Hpa {
        Hpa {
            name: "app-a".to_owned(),
            target: "Deployment/app-a".to_owned(),
            target_name: "app-a".to_owned(),
            min: 2,
            max: 12,
            metric: Some(PodsMetric {
                name: "http_requests_per_second".to_owned(),
                target_per_pod: 50.0,
                selector: None,
            }),
            external_metric: None,
            metric_types: vec!["Pods".to_owned()],
            scale_up_tolerance: 0.1,
            scale_down_stabilisation: Duration::from_secs(30),
            desired: 2,
            conditions: Vec::new(),
        }
    }

    fn rejection(hpa: &Hpa, rate: f64) -> String {
        predict(hpa, rate).expect_err(&format!("{rate} was accepted"))
    }

    #[test]
    fn predict_needs_eight_replicas_for_the_step_of_the_demo() {
        let expected = predict(&hpa(), 392.0).unwrap();
        assert_eq!((expected.replicas, expected.min), (8, 2));
        assert_eq!(safe_rate(&hpa(), 8), Ok(392.0));
        assert_eq!(predict(&hpa(), 400.0).unwrap().replicas, 8);
    }

    #[test]
    fn an_ambiguous_rate_is_rejected_with_a_suggestion() {
        let text = rejection(&hpa(), 380.0);
        assert!(text.contains("7 or 8") && text.contains("use 392"), "{text}");
        let mut precise = hpa();
        precise.scale_up_tolerance = 0.01;
        assert_eq!(
            predict(&precise, 380.0).unwrap().replicas,
            8,
            "a smaller tolerance makes the rate unambiguous"
        );
    }

    #[test]
    fn every_safe_rate_is_accepted_and_eleven_or_more_replicas_have_none() {
        let mut wide = hpa();
        wide.max = 100;
        for replicas in 3..=10 {
            let rate = safe_rate(&wide, replicas).unwrap();
            assert_eq!(predict(&wide, rate).unwrap().replicas, replicas, "at {rate}");
        }
        for replicas in 11..=50 {
            let no_rate = safe_rate(&wide, replicas).unwrap_err();
            assert!(no_rate.contains("use at most 10 replicas"), "{no_rate}");
            assert!(
                rejection(&wide, f64::from(replicas) * 50.0 - 1.0).contains("behavior.scaleUp.tolerance")
            );
        }
    }

    #[test]
    fn safe_rate_is_the_middle_of_what_the_tolerance_leaves() {
        let rate = |tolerance: f64, replicas: i32| {
            let mut hpa = hpa();
            hpa.scale_up_tolerance = tolerance;
            safe_rate(&hpa, replicas)
        };
        // More than 385, at most 400.
        assert_eq!(rate(0.1, 8), Ok(392.0));
        // More than 357, at most 400.
        assert_eq!(rate(0.02, 8), Ok(378.0));
        assert_eq!(rate(0.0, 8), Ok(375.0));
        // More than 110, at most 150.
        assert_eq!(rate(0.1, 3), Ok(130.0));
        // More than 510, at most 550.
        assert_eq!(rate(0.02, 11), Ok(530.0));
        let no_rate = rate(0.1, 11).unwrap_err();
        for part in [
            "exactly 11 replicas of app-a",
            "tolerance of 10 %",
            "up to 550",
            "spec.behavior.scaleUp.tolerance",
        ] {
            assert!(no_rate.contains(part), "{part} is missing in: {no_rate}");
        }
    }

    #[test]
    fn a_rate_without_an_integer_between_its_bounds_stays_a_fraction() {
        let mut slow = hpa();
        slow.metric.as_mut().unwrap().target_per_pod = 0.5;
        let rate = safe_rate(&slow, 3).unwrap();
        assert!((rate - 1.3).abs() < 1e-9, "{rate}");
        assert_eq!(predict(&slow, rate).unwrap().replicas, 3);
    }

    #[test]
    fn a_rate_that_proves_no_scaling_is_rejected() {
        assert!(rejection(&hpa(), 80.0).contains("at its minimum"));
        assert!(rejection(&hpa(), 601.0).contains("more than the 12 replicas"));
        let mut tight = hpa();
        tight.max = 9;
        assert!(rejection(&tight, 392.0).contains("must allow 10"));
        let mut two = hpa();
        two.metric_types.push("Resource".to_owned());
        assert!(rejection(&two, 392.0).contains("Pods, Resource"));
        let mut zero = hpa();
        zero.min = 0;
        assert!(rejection(&zero, 392.0).contains("minReplicas to 1"));
    }

    #[test]
    fn check_tail_rejects_a_rate_above_the_minimum() {
        let expected = predict(&hpa(), 392.0).unwrap();
        assert!(check_tail(&expected, 20.0).is_ok());
        assert!(check_tail(&expected, 95.0).unwrap_err().contains("at most 90"));
    }
}
