//! How many replicas a rate needs, and which rates leave that open. Pure.

use std::time::Duration;

use engine::units::short;
use schemars::JsonSchema;
use serde::Serialize;

use crate::cluster::{Hpa, PodsMetric};

/// How far the bound of an HPA must lie above the replicas expected, so that it is the metric that decides.
const HEADROOM: i32 = 2;

/// The share of N targets that a safe rate for N stays at: room for noise in the metric.
const SAFE_SHARE: f64 = 0.98;

/// What one HPA is expected to do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Expected {
    /// The HPA.
    pub hpa: String,
    /// The Deployment that it scales.
    pub deployment: String,
    /// The metric that it scales on.
    pub metric: PodsMetric,
    /// Replicas without load.
    pub min: i32,
    /// The most replicas.
    pub max: i32,
    /// Requests a second that reach it.
    pub rate: f64,
    /// Replicas with that load.
    pub replicas: i32,
    /// How far above its target the metric may be before replicas are added, as a share.
    pub scale_up_tolerance: f64,
    /// How long its recommendations count on the way down, in seconds.
    #[serde(
        rename = "scale_down_stabilisation_seconds",
        serialize_with = "engine::units::serialize_seconds"
    )]
    #[schemars(with = "f64")]
    pub scale_down_stabilisation: Duration,
}

/// What an HPA has to do at `rate`: `clamp(ceil(rate / target), min, max)` replicas.
///
/// # Errors
/// When the HPA cannot be predicted at this rate, in words that say which rate would do.
pub fn expect(hpa: &Hpa, rate: f64) -> Result<Expected, String> {
    let name = &hpa.name;
    let metric = single_metric(hpa)?;
    if !hpa.target.starts_with("Deployment/") {
        return Err(format!(
            "{name} scales {}, and only Deployments are understood",
            hpa.target
        ));
    }
    let target = metric.target_per_pod;
    let needed = (rate / target - 1e-9).ceil();
    let (least, most) = (f64::from(hpa.min) * target, f64::from(hpa.max) * target);
    if needed > f64::from(hpa.max) {
        return Err(format!(
            "{} requests/s need more than the {} replicas that {name} allows; at most {} will do",
            short(rate),
            hpa.max,
            short(most)
        ));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and maxReplicas")]
    let replicas = (needed as i32).clamp(hpa.min, hpa.max);
    if replicas <= hpa.min {
        return Err(format!(
            "{} requests/s leave {name} at its minimum of {}; it takes more than {}",
            short(rate),
            hpa.min,
            short(least * (1.0 + hpa.scale_up_tolerance))
        ));
    }
    let open_below = (1.0 + hpa.scale_up_tolerance) * f64::from(replicas - 1) * target;
    if rate <= open_below {
        let advice = match safe_rate(hpa, replicas) {
            Some(safe) => format!("{} would do for {replicas}", short(safe)),
            None => {
                format!("no rate needs exactly {replicas}; take fewer, or set behavior.scaleUp.tolerance")
            }
        };
        return Err(format!(
            "{} requests/s leave open whether {name} goes to {} or {replicas}: with its tolerance of {} % it stops at {} \
             up to {}; {advice}",
            short(rate),
            replicas - 1,
            short(hpa.scale_up_tolerance * 100.0),
            replicas - 1,
            short(open_below)
        ));
    }
    if hpa.max < replicas + HEADROOM {
        return Err(format!(
            "{name} allows {} replicas; for {replicas} to be the metric's doing and not the bound's it must allow {} or more",
            hpa.max,
            replicas + HEADROOM
        ));
    }
    Ok(Expected {
        hpa: name.clone(),
        deployment: hpa.target_name.clone(),
        metric: metric.clone(),
        min: hpa.min,
        max: hpa.max,
        rate,
        replicas,
        scale_up_tolerance: hpa.scale_up_tolerance,
        scale_down_stabilisation: hpa.scale_down_stabilisation,
    })
}

/// The metric, if it is the only one: of several the highest wins, and nothing could be predicted.
fn single_metric(hpa: &Hpa) -> Result<&PodsMetric, String> {
    match (&hpa.metric, hpa.metric_types.len()) {
        (Some(metric), 1) if metric.target_per_pod > 0.0 => Ok(metric),
        _ => Err(format!(
            "{} must scale on one metric, of type Pods and with an averageValue; it has: {}",
            hpa.name,
            if hpa.metric_types.is_empty() {
                "none".to_owned()
            } else {
                hpa.metric_types.join(", ")
            }
        )),
    }
}

/// A rate that needs exactly `replicas`, as far from both edges as noise asks for. `None` where the tolerance leaves
/// none, which at 10 % is so from 11 replicas on.
#[must_use]
pub fn safe_rate(hpa: &Hpa, replicas: i32) -> Option<f64> {
    let target = hpa.metric.as_ref()?.target_per_pod;
    let below = (1.0 + hpa.scale_up_tolerance) * f64::from(replicas - 1) * target;
    let above = f64::from(replicas) * target;
    let rate = (above * SAFE_SHARE).max(f64::midpoint(below, above));
    // A whole number where one fits; 1e-9 for what floating point leaves of 0.98 * 400.
    let whole = (rate + 1e-9).floor();
    let rate = if whole > below { whole } else { rate };
    (below < rate && rate <= above).then_some(rate)
}

/// Whether `tail` requests a second keep the HPA at its minimum, with room for noise.
///
/// # Errors
/// In words that say which rate would do.
pub fn check_tail(expected: &Expected, tail: f64) -> Result<(), String> {
    let most = 0.9 * f64::from(expected.min) * expected.metric.target_per_pod;
    if tail <= most {
        return Ok(());
    }
    Err(format!(
        "a tail of {} requests/s for {} would keep it above its minimum of {} replicas; at most {} will do (--tail-rate)",
        short(tail),
        expected.hpa,
        expected.min,
        short(most)
    ))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

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
            metric_types: vec!["Pods".to_owned()],
            scale_up_tolerance: 0.1,
            scale_down_stabilisation: Duration::from_secs(30),
            desired: 2,
            conditions: Vec::new(),
        }
    }

    fn refusal(hpa: &Hpa, rate: f64) -> String {
        expect(hpa, rate).expect_err(&format!("{rate} was taken"))
    }

    #[test]
    fn the_step_of_the_demonstration_needs_eight() {
        let expected = expect(&hpa(), 392.0).unwrap();
        assert_eq!((expected.replicas, expected.min), (8, 2));
        assert_eq!(safe_rate(&hpa(), 8), Some(392.0));
        assert_eq!(expect(&hpa(), 400.0).unwrap().replicas, 8);
    }

    #[test]
    fn a_rate_that_the_tolerance_leaves_open_is_refused_with_one_that_will_do() {
        let text = refusal(&hpa(), 380.0);
        assert!(text.contains("7 or 8") && text.contains("392 would do"), "{text}");
        let mut precise = hpa();
        precise.scale_up_tolerance = 0.01;
        assert_eq!(
            expect(&precise, 380.0).unwrap().replicas,
            8,
            "a tolerance of its own closes the gap"
        );
    }

    #[test]
    fn every_safe_rate_is_accepted_and_there_is_none_from_eleven_on() {
        let mut wide = hpa();
        wide.max = 100;
        for replicas in 3..=10 {
            let rate = safe_rate(&wide, replicas).unwrap_or_else(|| panic!("none for {replicas}"));
            assert_eq!(expect(&wide, rate).unwrap().replicas, replicas, "at {rate}");
        }
        for replicas in 11..=50 {
            assert_eq!(safe_rate(&wide, replicas), None);
            assert!(refusal(&wide, f64::from(replicas) * 50.0 - 1.0).contains("behavior.scaleUp.tolerance"));
        }
    }

    #[test]
    fn what_cannot_show_scaling_is_refused() {
        assert!(refusal(&hpa(), 80.0).contains("at its minimum"));
        assert!(refusal(&hpa(), 601.0).contains("more than the 12 replicas"));
        let mut tight = hpa();
        tight.max = 9;
        assert!(refusal(&tight, 392.0).contains("must allow 10"));
        let mut two = hpa();
        two.metric_types.push("Resource".to_owned());
        assert!(refusal(&two, 392.0).contains("Pods, Resource"));
    }

    #[test]
    fn the_tail_must_leave_the_minimum_alone() {
        let expected = expect(&hpa(), 392.0).unwrap();
        assert!(check_tail(&expected, 20.0).is_ok());
        assert!(check_tail(&expected, 95.0).unwrap_err().contains("at most 90"));
    }
}
