//! When each request is due. Analytic: the time of an arrival follows from the integral of the rate and its own index,
//! so that late sleeps never add up and the rate never drifts.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::segment::Segment;
use crate::units::Rate;

/// Counts closer than this are the same: what floating point leaves of `1.1 * 10`.
const COUNT_TOLERANCE: f64 = 1e-6;

/// How arrivals lie around the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// At equal distances, as far as the rate is constant.
    #[default]
    Even,
    /// At random, as requests of many users who know nothing of each other: a Poisson process. The same seed gives the
    /// same arrivals, so that two runs can be compared.
    Poisson {
        /// Where the random numbers begin.
        seed: u64,
    },
}

/// A segment and where it begins.
#[derive(Clone, Copy, Debug)]
struct PlacedSegment {
    segment: Segment,
    /// Seconds since the start.
    at: f64,
    /// Arrivals before it.
    before: f64,
}

impl PlacedSegment {
    fn end(&self) -> f64 {
        self.start_seconds + self.segment.length.as_secs_f64()
    }

    fn count_at_end(&self) -> f64 {
        self.arrivals_before + self.segment.arrivals_after(self.segment.length.as_secs_f64())
    }
}

/// A rate over time, starting at time 0.
#[derive(Clone, Debug)]
pub struct Schedule {
    segments: Arc<[PlacedSegment]>,
    duration: Duration,
    spacing: Spacing,
}

impl Schedule {
    /// The same rate for `duration`.
    #[must_use]
    pub fn constant(rate: Rate, duration: Duration) -> Self {
        Self::from_segments(
            &[Segment::constant(duration, rate.as_per_second())],
            Spacing::Even,
        )
    }

    /// One segment after the other. Empty ones are left out.
    #[must_use]
    pub fn from_segments(segments: &[Segment], spacing: Spacing) -> Self {
        let mut placed = Vec::new();
        let (mut duration, mut before) = (Duration::ZERO, 0.0);
        for segment in segments.iter().filter(|segment| !segment.length.is_zero()) {
            let one = PlacedSegment {
                segment: *segment,
                at: duration.as_secs_f64(),
                before,
            };
            duration += segment.length;
            before = one.count_at_end();
            placed.push(one);
        }
        Self {
            segments: placed.into(),
            duration,
            spacing,
        }
    }

    /// How long arrivals go on.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// How arrivals lie around the rate.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// The segments.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.segments.iter().map(|placed| placed.segment)
    }

    /// The rate at a moment, in requests a second; 0 after the end.
    #[must_use]
    pub fn rate_at(&self, moment: Duration) -> f64 {
        let moment = moment.as_secs_f64();
        self.segments
            .iter()
            .find(|placed| moment < placed.end())
            .map_or(0.0, |placed| {
                placed.segment.from + placed.segment.slope() * (moment - placed.start_seconds)
            })
    }

    /// The highest rate, in requests a second.
    #[must_use]
    pub fn peak_rate(&self) -> f64 {
        self.segments
            .iter()
            .map(|placed| placed.segment.from.max(placed.segment.to))
            .fold(0.0, f64::max)
    }

    /// The integral of the rate from the start until `moment`: how many arrivals are expected by then.
    #[must_use]
    pub fn expected(&self, moment: Duration) -> f64 {
        let moment = moment.as_secs_f64();
        let passed = self.segments.iter().take_while(|placed| placed.start_seconds < moment);
        passed.last().map_or(0.0, |placed| {
            placed.arrivals_before + placed.segment.arrivals_after(moment.min(placed.end()) - placed.start_seconds)
        })
    }

    /// When so many arrivals are expected: the inverse of [`Schedule::expected`]. `None` where the schedule ends before.
    /// Across a time without a rate it is the end of that time.
    pub(super) fn time_of_count(&self, count: f64) -> Option<Duration> {
        let position = self
            .segments
            .partition_point(|placed| placed.count_at_end() <= count + COUNT_TOLERANCE);
        let placed = self.segments.get(position)?;
        let within = placed.segment.seconds_until((count - placed.arrivals_before).max(0.0));
        Some(Duration::from_secs_f64(placed.start_seconds + within).min(self.duration))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::arrivals::{Arrival, Stripe},
        *,
    };
    use crate::units::to_f64;

    fn whole(schedule: &Schedule) -> Vec<Duration> {
        schedule
            .arrivals(Stripe::WHOLE)
            .map(|arrival| arrival.at)
            .collect()
    }

    fn constant(rate: &str, seconds: u64) -> Schedule {
        Schedule::constant(rate.parse().unwrap(), Duration::from_secs(seconds))
    }

    fn ramp(seconds: u64, from: f64, to: f64) -> Segment {
        Segment {
            length: Duration::from_secs(seconds),
            from,
            to,
        }
    }

    #[test]
    fn a_thousand_a_second_is_one_each_millisecond() {
        let arrivals = whole(&constant("1000", 10));
        assert_eq!(arrivals.len(), 10_000);
        assert_eq!(arrivals[0], Duration::ZERO, "the first arrival is at 0");
        assert_eq!(arrivals[9_999], Duration::from_millis(9_999));
    }

    #[test]
    fn a_third_of_a_millisecond_does_not_drift_in_a_day() {
        let schedule = constant("3000", 86_400);
        let late = schedule.time_of_count(3000.0 * 86_399.0);
        assert_eq!(late, Some(Duration::from_secs(86_399)));
        assert_eq!(schedule.time_of_count(3000.0 * 86_400.0), None);
    }

    #[test]
    fn rates_that_floating_point_cannot_write_have_no_arrival_too_many() {
        for (rate, seconds, count) in [
            ("1.1", 10, 11),
            ("0.7", 10, 7),
            ("0.1", 30, 3),
            ("392.3", 10, 3923),
        ] {
            assert_eq!(
                whole(&constant(rate, seconds)).len(),
                count,
                "{rate} for {seconds} s"
            );
        }
    }

    #[test]
    fn a_ramp_from_nothing_has_its_arrivals_at_square_roots() {
        // 5 t^2 arrivals by t.
        let arrivals = whole(&Schedule::from_segments(&[ramp(10, 0.0, 100.0)], Spacing::Even));
        assert_eq!(arrivals.len(), 500);
        for (index, at) in arrivals.iter().enumerate() {
            let theory = (f64::from(u32::try_from(index).unwrap()) / 5.0).sqrt();
            assert!((at.as_secs_f64() - theory).abs() < 1e-6, "{index} is at {at:?}");
        }
    }

    #[test]
    fn nothing_arrives_while_the_rate_is_nothing() {
        let segments = [ramp(1, 10.0, 10.0), ramp(5, 0.0, 0.0), ramp(1, 10.0, 10.0)];
        let arrivals = whole(&Schedule::from_segments(&segments, Spacing::Even));
        assert_eq!(arrivals.len(), 20);
        assert_eq!(arrivals[9], Duration::from_millis(900));
        assert_eq!(arrivals[10], Duration::from_secs(6));
    }

    #[test]
    fn a_poisson_process_has_the_rate_and_the_spread_of_one() {
        let schedule = Schedule::from_segments(&[ramp(1000, 100.0, 100.0)], Spacing::Poisson { seed: 7 });
        let arrivals = whole(&schedule);
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| (pair[1].as_secs_f64() - pair[0].as_secs_f64()) * 100.0)
            .collect();
        let number = to_f64(gaps.len() as u64);
        let mean = gaps.iter().sum::<f64>() / number;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / number;
        // Of 100,000 gaps the mean is known to within 0.3 %, the variance to within 1 %: four times that.
        assert!((mean - 1.0).abs() < 0.013, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.04, "variance {variance}");
        assert_eq!(
            arrivals,
            whole(&schedule),
            "the same seed gives the same arrivals"
        );
    }

    prop_compose! {
        fn stages()(
            stages in prop::collection::vec((0_u32..20_000, 0_u32..50_000), 1..8),
            start in 0_u32..50_000,
        ) -> Vec<Segment> {
            let mut from = f64::from(start) / 100.0;
            stages.into_iter().map(|(milliseconds, rate)| {
                let to = f64::from(rate) / 100.0;
                let segment = Segment { length: Duration::from_millis(milliseconds.into()), from, to };
                from = to;
                segment
            }).collect()
        }
    }

    proptest! {
        #[test]
        fn any_interval_has_as_many_arrivals_as_the_integral_within_one(
            segments in stages(), from in 0.0_f64..1.0, length in 0.0_f64..1.0
        ) {
            let schedule = Schedule::from_segments(&segments, Spacing::Even);
            let begin = schedule.duration().mul_f64(from);
            let end = (begin + schedule.duration().mul_f64(length)).min(schedule.duration());
            let arrivals = whole(&schedule);
            let counted = arrivals.iter().filter(|at| (begin..end).contains(*at)).count();
            let integral = schedule.expected(end) - schedule.expected(begin);
            let counted = to_f64(counted as u64);
            prop_assert!((counted - integral).abs() <= 1.0 + 1e-3, "{counted} arrivals, integral {integral}");
        }

        #[test]
        fn arrivals_come_in_the_order_of_time_and_before_the_end(segments in stages(), seed: u64, poisson: bool) {
            let spacing = if poisson { Spacing::Poisson { seed } } else { Spacing::Even };
            let schedule = Schedule::from_segments(&segments, spacing);
            let arrivals = whole(&schedule);
            prop_assert!(arrivals.is_sorted());
            prop_assert!(arrivals.last().is_none_or(|last| *last <= schedule.duration()));
        }

        #[test]
        fn stripes_share_every_arrival_out_once(segments in stages(), count in 1_u64..9) {
            let schedule = Schedule::from_segments(&segments, Spacing::Even);
            let mut all: Vec<Arrival> = (0..count)
                .flat_map(|first| schedule.arrivals(Stripe { first, count }))
                .collect();
            all.sort_unstable_by_key(|arrival| arrival.index);
            prop_assert_eq!(all, schedule.arrivals(Stripe::WHOLE).collect::<Vec<_>>());
        }

        #[test]
        fn threads_share_every_arrival_of_the_stripes_out_once(
            segments in stages(), count in 1_u64..5, threads in 1_usize..4
        ) {
            let schedule = Schedule::from_segments(&segments, Spacing::Even);
            let mut all: Vec<Arrival> = (0..count)
                .flat_map(|first| (0..threads).map(move |number| Stripe { first, count }.thread(number, threads)))
                .flat_map(|stripe| schedule.arrivals(stripe))
                .collect();
            all.sort_unstable_by_key(|arrival| arrival.index);
            prop_assert_eq!(all, schedule.arrivals(Stripe::WHOLE).collect::<Vec<_>>());
        }
    }
}
