//! The difference between two proportions, with a confidence interval. Pure functions.

/// The number of standard deviations to each side of the middle, at a confidence of 98 %, as for [`crate::verify::Shift`].
const DEVIATIONS: f64 = 2.326_347_874;

/// A part of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Proportion {
    /// The number of requests that count.
    pub(super) part: u64,
    /// The number of all requests.
    pub(super) all: u64,
}

/// An interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// Its lower end.
    pub(super) low: f64,
    /// Its upper end.
    pub(super) high: f64,
}

impl Proportion {
    /// Returns the proportion; 0 without a request.
    pub(super) fn share(self) -> f64 {
        if self.all == 0 {
            return 0.0;
        }
        number(self.part) / number(self.all)
    }

    /// Returns the interval of Wilson, which is also right for few requests and for proportions near 0. Without a request it is
    /// everything.
    fn interval(self) -> Interval {
        if self.all == 0 {
            return Interval { low: 0.0, high: 1.0 };
        }
        let (all, square) = (number(self.all), DEVIATIONS * DEVIATIONS);
        let share = self.share();
        let middle = (share + square / (2.0 * all)) / (1.0 + square / all);
        let half = DEVIATIONS / (1.0 + square / all)
            * (share * (1.0 - share) / all + square / (4.0 * all * all)).sqrt();
        Interval {
            low: (middle - half).max(0.0),
            high: (middle + half).min(1.0),
        }
    }

    /// Returns by how much the proportion exceeds that of `base`, with a confidence of 98 %: method 10 of Newcombe (Statistics in
    /// Medicine 17, 1998), which combines two intervals of Wilson.
    pub(super) fn excess_over(self, base: Self) -> Interval {
        let (own, other) = (self.interval(), base.interval());
        let (own_share, other_share) = (self.share(), base.share());
        let difference = own_share - other_share;
        Interval {
            low: difference - (own_share - own.low).hypot(other.high - other_share),
            high: difference + (own.high - own_share).hypot(other_share - other.low),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of requests in some minutes")]
fn number(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(part: u64, all: u64) -> Proportion {
        Proportion { part, all }
    }

    fn assert_near(interval: Interval, low: f64, high: f64) {
        assert!(
            (interval.low - low).abs() < 5e-4 && (interval.high - high).abs() < 5e-4,
            "{interval:?}"
        );
    }

    /// The upper end for 0 of n is z² / (n + z²).
    #[test]
    fn no_failure_in_265_requests_excludes_two_percent_and_264_do_not() {
        let high = |all| of(0, all).excess_over(of(0, 10_000)).high;
        assert!(
            high(266) <= 0.02 && high(265) > 0.02,
            "{} {}",
            high(265),
            high(266)
        );
        assert_near(of(0, 100).interval(), 0.0, 0.0513);
    }

    /// The example of Newcombe (1998), 56/70 and 48/80, has 0.0524 to 0.3339 with 1.96 deviations. The ends here are wider by the ratio of
    /// the deviations, but for the asymmetry of Wilson's intervals.
    #[test]
    fn the_difference_of_two_proportions_has_an_interval_on_both_sides() {
        let interval = of(56, 70).excess_over(of(48, 80));
        assert!((0.01..0.0524).contains(&interval.low), "{interval:?}");
        assert!((0.3339..0.38).contains(&interval.high), "{interval:?}");
        let reversed = of(48, 80).excess_over(of(56, 70));
        assert_near(reversed, -interval.high, -interval.low);
    }

    #[test]
    fn without_requests_nothing_is_excluded() {
        let interval = of(0, 0).excess_over(of(0, 100));
        assert!(interval.low <= 0.0 && interval.high >= 1.0, "{interval:?}");
    }
}
