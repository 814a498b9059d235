//! When each request is due. Analytic: the time of an arrival follows from its index alone,
//! so that late sleeps never add up and the rate never drifts.

use std::time::Duration;

use crate::units::Rate;

/// A constant rate for a duration, starting at time 0 with the first arrival.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    rate: Rate,
    duration: Duration,
}

impl Schedule {
    /// `rate` requests for `duration`.
    #[must_use]
    pub fn new(rate: Rate, duration: Duration) -> Self {
        Self { rate, duration }
    }

    /// The intended start of arrival number `index` (from 0), since the start of the run.
    #[must_use]
    pub fn arrival(&self, index: u64) -> Duration {
        let (numerator, denominator) = self.rate.nanoseconds_per_arrival();
        from_nanoseconds(u128::from(index) * numerator / denominator)
    }

    /// How many arrivals have an intended start at or before `elapsed`.
    #[must_use]
    pub fn due(&self, elapsed: Duration) -> u64 {
        self.before(elapsed.as_nanos() + 1).min(self.total())
    }

    /// How many arrivals the whole schedule has: those that start before its end.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.before(self.duration.as_nanos())
    }

    /// The rate of arrivals.
    #[must_use]
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How long arrivals go on.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration
    }

    /// How many arrivals start before `nanoseconds`.
    fn before(&self, nanoseconds: u128) -> u64 {
        let (numerator, denominator) = self.rate.nanoseconds_per_arrival();
        u64::try_from((nanoseconds * denominator).div_ceil(numerator)).unwrap_or(u64::MAX)
    }
}

fn from_nanoseconds(nanoseconds: u128) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

/// One generator thread's part of a schedule: every `of`-th arrival, starting with `first`.
#[derive(Clone, Copy, Debug)]
pub struct Stripe {
    /// The first index that belongs to this stripe.
    pub first: u64,
    /// The number of stripes.
    pub of: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(thousandths: u32, period_ms: u32, duration_ms: u32) -> Schedule {
        let rate = format!("{}.{:03}/{period_ms}ms", thousandths / 1000, thousandths % 1000);
        Schedule::new(
            rate.parse().unwrap(),
            Duration::from_millis(u64::from(duration_ms)),
        )
    }

    #[test]
    fn a_thousand_a_second_is_one_each_millisecond() {
        let schedule = schedule(1_000_000, 1000, 10_000);
        assert_eq!(schedule.total(), 10_000);
        assert_eq!(schedule.arrival(9_999), Duration::from_millis(9_999));
        assert_eq!(schedule.due(Duration::ZERO), 1, "the first arrival is at 0");
        assert_eq!(schedule.due(Duration::from_micros(999)), 1);
        assert_eq!(schedule.due(Duration::from_millis(1)), 2);
    }

    #[test]
    fn a_third_of_a_millisecond_does_not_drift_in_a_day() {
        let schedule = schedule(3_000_000, 1000, 86_400_000);
        assert_eq!(schedule.total(), 3 * 86_400 * 1000);
        assert_eq!(
            schedule.arrival(3000 * 86_399),
            Duration::from_hours(24)
                .checked_sub(Duration::from_secs(1))
                .unwrap()
        );
    }

    proptest! {
        #[test]
        fn due_counts_exactly_the_arrivals_up_to_now(
            thousandths in 1_u32..200_000_000, period_ms in 1_u32..100_000, duration_ms in 1_u32..1_000_000, at in 0.0_f64..1.2
        ) {
            let schedule = schedule(thousandths, period_ms, duration_ms);
            let now = schedule.duration().mul_f64(at);
            let due = schedule.due(now);
            prop_assert!(due <= schedule.total());
            if due > 0 {
                prop_assert!(schedule.arrival(due - 1) <= now, "counted before its time");
            }
            if due < schedule.total() {
                prop_assert!(schedule.arrival(due) > now, "due, and not counted");
            }
        }

        #[test]
        fn the_whole_schedule_is_rate_times_duration(
            thousandths in 1_u32..200_000_000, period_ms in 1_u32..100_000, duration_ms in 1_u32..1_000_000
        ) {
            let schedule = schedule(thousandths, period_ms, duration_ms);
            let total = schedule.total();
            let exact = f64::from(thousandths) / 1000.0 / f64::from(period_ms) * f64::from(duration_ms);
            #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
            let difference = total as f64 - exact;
            prop_assert!((-0.001..1.001).contains(&difference), "{total} arrivals for {exact}");
            prop_assert!(schedule.arrival(total - 1) < schedule.duration());
            prop_assert!(schedule.arrival(total) >= schedule.duration());
        }

        #[test]
        fn stripes_share_every_arrival_out_once(total in 1_u64..10_000, of in 1_u64..9) {
            let mut all: Vec<u64> = (0..of).flat_map(|first| (first..total).step_by(usize::try_from(of).unwrap())).collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..total).collect::<Vec<_>>());
        }
    }
}
