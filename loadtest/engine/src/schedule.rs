//! The time at which each request is due.
//!
//! The integral of the rate and the index of an arrival give its time. Therefore late wake-ups do not accumulate, and
//! the rate does not drift.

use std::{sync::Arc, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::segment::Segment;
use crate::units::Rate;

/// Counts that differ by less than this are equal. It absorbs rounding errors of floating point, as in `1.1 * 10`.
const COUNT_TOLERANCE: f64 = 1e-6;

/// The distribution of arrivals around the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// Evenly spaced while the rate is constant.
    #[default]
    Even,
    /// Random, like the requests of many independent users: a Poisson process. The same seed gives the same arrivals,
    /// so two runs can be compared.
    Poisson {
        /// The seed of the random numbers.
        seed: u64,
    },
}

/// A segment and its position in the schedule.
#[derive(Clone, Copy, Debug)]
struct PlacedSegment {
    segment: Segment,
    /// The start of the segment, in seconds since the start of the schedule.
    start_seconds: f64,
    /// The number of arrivals before the segment.
    arrivals_before: f64,
}

impl PlacedSegment {
    fn end(&self) -> f64 {
        self.start_seconds + self.segment.length.as_secs_f64()
    }

    fn count_at_end(&self) -> f64 {
        self.arrivals_before + self.segment.arrivals_after(self.segment.length.as_secs_f64())
    }
}

/// A rate over time, from time 0.
#[derive(Clone, Debug)]
pub struct Schedule {
    segments: Arc<[PlacedSegment]>,
    duration: Duration,
    spacing: Spacing,
}

impl Schedule {
    /// Creates a schedule with a constant rate for `duration`.
    #[must_use]
    pub fn constant(rate: Rate, duration: Duration) -> Self {
        Self::from_segments(
            &[Segment::constant(duration, rate.as_per_second())],
            Spacing::Even,
        )
    }

    /// Creates a schedule of consecutive segments. Ignores segments of length 0.
    #[must_use]
    pub fn from_segments(segments: &[Segment], spacing: Spacing) -> Self {
        let mut placed = Vec::new();
        let (mut duration, mut arrivals_before) = (Duration::ZERO, 0.0);
        for segment in segments.iter().filter(|segment| !segment.length.is_zero()) {
            let next = PlacedSegment {
                segment: *segment,
                start_seconds: duration.as_secs_f64(),
                arrivals_before,
            };
            duration += segment.length;
            arrivals_before = next.count_at_end();
            placed.push(next);
        }
        Self {
            segments: placed.into(),
            duration,
            spacing,
        }
    }

    /// Returns the total duration.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// Returns the distribution of arrivals around the rate.
    #[must_use]
    pub fn spacing(&self) -> Spacing {
        self.spacing
    }

    /// Returns the segments.
    pub fn segments(&self) -> impl Iterator<Item = Segment> {
        self.segments.iter().map(|placed| placed.segment)
    }

    /// Returns the rate at a moment, in requests per second; 0 after the end.
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

    /// Returns the first rate above 0, in requests per second: the rate at the start, or the rate at the end of a ramp
    /// from 0. Returns 0 if the rate is always 0.
    #[must_use]
    pub fn first_rate(&self) -> f64 {
        self.segments()
            .flat_map(|segment| [segment.from, segment.to])
            .find(|rate| *rate > 0.0)
            .unwrap_or(0.0)
    }

    /// Returns the highest rate, in requests per second.
    #[must_use]
    pub fn peak_rate(&self) -> f64 {
        self.segments
            .iter()
            .map(|placed| placed.segment.from.max(placed.segment.to))
            .fold(0.0, f64::max)
    }

    /// Returns the expected number of arrivals until `moment`: the integral of the rate.
    #[must_use]
    pub fn expected(&self, moment: Duration) -> f64 {
        let moment = moment.as_secs_f64();
        let passed = self
            .segments
            .iter()
            .take_while(|placed| placed.start_seconds < moment);
        passed.last().map_or(0.0, |placed| {
            placed.arrivals_before
                + placed
                    .segment
                    .arrivals_after(moment.min(placed.end()) - placed.start_seconds)
        })
    }

    /// Returns the time at which `count` arrivals are expected: the inverse of [`Schedule::expected`].
    ///
    /// Returns `None` if the schedule ends earlier. In a period with rate 0, returns the end of this period.
    pub(super) fn time_of_count(&self, count: f64) -> Option<Duration> {
        let position = self
            .segments
            .partition_point(|placed| placed.count_at_end() <= count + COUNT_TOLERANCE);
        let placed = self.segments.get(position)?;
        let within = placed
            .segment
            .seconds_until((count - placed.arrivals_before).max(0.0));
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
    fn a_rate_of_1000_per_second_has_an_arrival_each_millisecond() {
        let arrivals = whole(&constant("1000", 10));
        assert_eq!(arrivals.len(), 10_000);
        assert_eq!(arrivals[0], Duration::ZERO, "the first arrival is at time 0");
        assert_eq!(arrivals[9_999], Duration::from_millis(9_999));
    }

    #[test]
    fn a_rate_of_3000_per_second_does_not_drift_in_a_day() {
        let schedule = constant("3000", 86_400);
        let last_second = schedule.time_of_count(3000.0 * 86_399.0);
        assert_eq!(last_second, Some(Duration::from_secs(86_399)));
        assert_eq!(schedule.time_of_count(3000.0 * 86_400.0), None);
    }

    #[test]
    fn rates_without_an_exact_float_have_no_extra_arrival() {
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
    fn arrivals_of_a_ramp_from_0_are_at_square_roots() {
        // There are 5 t^2 arrivals until t.
        let arrivals = whole(&Schedule::from_segments(&[ramp(10, 0.0, 100.0)], Spacing::Even));
        assert_eq!(arrivals.len(), 500);
        for (index, at) in arrivals.iter().enumerate() {
            let expected = (f64::from(u32::try_from(index).unwrap()) / 5.0).sqrt();
            assert!((at.as_secs_f64() - expected).abs() < 1e-6, "{index} is at {at:?}");
        }
    }

    #[test]
    fn there_are_no_arrivals_while_the_rate_is_0() {
        let segments = [ramp(1, 10.0, 10.0), ramp(5, 0.0, 0.0), ramp(1, 10.0, 10.0)];
        let arrivals = whole(&Schedule::from_segments(&segments, Spacing::Even));
        assert_eq!(arrivals.len(), 20);
        assert_eq!(arrivals[9], Duration::from_millis(900));
        assert_eq!(arrivals[10], Duration::from_secs(6));
    }

    #[test]
    fn the_first_rate_is_the_first_one_above_0() {
        for (segments, first) in [
            (vec![ramp(1, 20.0, 90.0)], 20.0),
            (vec![ramp(1, 0.0, 90.0), ramp(1, 90.0, 10.0)], 90.0),
            (vec![ramp(0, 0.0, 50.0), ramp(1, 70.0, 70.0)], 70.0),
            (vec![ramp(1, 0.0, 0.0), ramp(1, 30.0, 0.0)], 30.0),
            (vec![ramp(1, 0.0, 0.0)], 0.0),
        ] {
            let rate = Schedule::from_segments(&segments, Spacing::Even).first_rate();
            assert!((rate - first).abs() < 1e-9, "{segments:?}: {rate}");
        }
    }

    #[test]
    fn poisson_gaps_have_the_mean_and_variance_of_the_distribution() {
        let schedule = Schedule::from_segments(&[ramp(1000, 100.0, 100.0)], Spacing::Poisson { seed: 7 });
        let arrivals = whole(&schedule);
        let gaps: Vec<f64> = arrivals
            .windows(2)
            .map(|pair| (pair[1].as_secs_f64() - pair[0].as_secs_f64()) * 100.0)
            .collect();
        let count = to_f64(gaps.len() as u64);
        let mean = gaps.iter().sum::<f64>() / count;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / count;
        // With 100,000 gaps, the standard error is 0.3 % for the mean and 1 % for the variance: allow four of them.
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
        fn arrivals_of_an_interval_differ_from_the_integral_by_at_most_one(
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
        fn arrivals_are_ordered_and_before_the_end(segments in stages(), seed: u64, poisson: bool) {
            let spacing = if poisson { Spacing::Poisson { seed } } else { Spacing::Even };
            let schedule = Schedule::from_segments(&segments, spacing);
            let arrivals = whole(&schedule);
            prop_assert!(arrivals.is_sorted());
            prop_assert!(arrivals.last().is_none_or(|last| *last <= schedule.duration()));
        }

        #[test]
        fn each_arrival_belongs_to_one_stripe(segments in stages(), count in 1_u64..9) {
            let schedule = Schedule::from_segments(&segments, Spacing::Even);
            let mut all: Vec<Arrival> = (0..count)
                .flat_map(|first| schedule.arrivals(Stripe { first, count }))
                .collect();
            all.sort_unstable_by_key(|arrival| arrival.index);
            prop_assert_eq!(all, schedule.arrivals(Stripe::WHOLE).collect::<Vec<_>>());
        }

        #[test]
        fn each_arrival_belongs_to_one_thread_of_one_stripe(
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
