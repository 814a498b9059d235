//! Searches the highest rate that is held: coarse steps until a rate is missed, then a bisection. Pure.

/// The limits and the precision of a search.
#[derive(Clone, Copy, Debug)]
pub struct SearchOptions {
    /// The first rate, in requests per second.
    pub start: u32,
    /// The lowest rate that is tried; at least 1.
    pub lowest: u32,
    /// The highest rate that is tried.
    pub highest: u32,
    /// The factor between two rates as long as every rate is held, or every rate is missed.
    pub coarse: f64,
    /// The search ends when the lowest missed rate is at most this factor above the highest held rate.
    pub fine: f64,
}

/// A running search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    options: SearchOptions,
    held: Option<u32>,
    missed: Option<u32>,
    /// The rate that was missed once. A rate counts as missed after two misses in a row, so that a short disturbance does
    /// not end a search.
    missed_once: Option<u32>,
}

impl Search {
    /// Creates a search.
    #[must_use]
    pub fn new(options: SearchOptions) -> Self {
        Self {
            options,
            held: None,
            missed: None,
            missed_once: None,
        }
    }

    /// Returns the rate to try next; `None` at the end of the search.
    #[must_use]
    pub fn next(&self) -> Option<u32> {
        let SearchOptions {
            start,
            lowest,
            highest,
            coarse,
            fine,
        } = self.options;
        match (self.missed_once, self.held, self.missed) {
            (Some(rate), _, _) => Some(rate),
            (None, None, None) => Some(start.clamp(lowest, highest)),
            (None, Some(held), None) => {
                (held < highest).then(|| times(held, coarse).max(held + 1).min(highest))
            }
            (None, None, Some(missed)) => {
                (missed > lowest).then(|| times(missed, 1.0 / coarse).min(missed - 1).max(lowest))
            }
            (None, Some(held), Some(missed)) => {
                let gap = f64::from(missed) / f64::from(held);
                let has_rates_between = missed - held > 1;
                (gap > fine && has_rates_between).then(|| times(held, gap.sqrt()).clamp(held + 1, missed - 1))
            }
        }
    }

    /// Records whether the [`next`](Search::next) rate was held.
    pub fn record(&mut self, rate: u32, holds: bool) {
        let is_second_try = self.missed_once.take() == Some(rate);
        match (holds, is_second_try) {
            (true, _) => self.held = Some(rate),
            (false, true) => self.missed = Some(rate),
            (false, false) => self.missed_once = Some(rate),
        }
    }

    /// Returns the highest held rate; `None` if no rate was held.
    #[must_use]
    pub fn highest(&self) -> Option<u32> {
        self.held
    }

    /// Returns the lowest missed rate; `None` if no rate was missed twice.
    #[must_use]
    pub fn lowest_missed(&self) -> Option<u32> {
        self.missed
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive; a rate above 2^32 becomes the highest one"
)]
fn times(rate: u32, factor: f64) -> u32 {
    (f64::from(rate) * factor).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: SearchOptions = SearchOptions {
        start: 10_000,
        lowest: 500,
        highest: u32::MAX,
        coarse: 1.25,
        fine: 1.05,
    };

    /// Runs a search against `holds`, and returns the highest rate and the number of tries.
    fn search(options: SearchOptions, mut holds: impl FnMut(u32) -> bool) -> (Option<u32>, usize) {
        let mut search = Search::new(options);
        let mut tries = 0;
        while let Some(rate) = search.next() {
            tries += 1;
            assert!(tries < 100, "the search does not end: {rate}/s");
            assert!((options.lowest..=options.highest).contains(&rate), "{rate}/s");
            search.record(rate, holds(rate));
        }
        (search.highest(), tries)
    }

    #[test]
    fn the_highest_rate_is_found_within_5_percent() {
        for limit in [700, 9_999, 10_000, 12_499, 34_567, 120_000] {
            let (found, tries) = search(OPTIONS, |rate| rate <= limit);
            let found = found.unwrap();
            assert!(
                found <= limit && f64::from(found) * 1.051 > f64::from(limit),
                "{found} of {limit}"
            );
            assert!(tries < 40, "{tries} tries for {limit}");
        }
    }

    #[test]
    fn low_rates_are_found_exactly_and_the_limits_are_kept() {
        let options = SearchOptions {
            start: 3,
            lowest: 1,
            highest: 1000,
            coarse: 2.0,
            fine: 1.01,
        };
        for limit in [1, 2, 3, 7, 50] {
            assert_eq!(search(options, |rate| rate <= limit).0, Some(limit));
        }
        assert_eq!(search(options, |_| true).0, Some(1000));
        assert_eq!(search(options, |_| false).0, None);
    }

    #[test]
    fn one_miss_does_not_end_a_search_and_two_do() {
        let mut misses = 1;
        let with_one_miss = |rate| rate <= 40_000 && (rate < 20_000 || std::mem::take(&mut misses) == 0);
        assert_eq!(
            search(OPTIONS, with_one_miss).0,
            search(OPTIONS, |rate| rate <= 40_000).0
        );
    }

    #[test]
    fn a_search_without_a_held_rate_finds_nothing() {
        assert_eq!(search(OPTIONS, |_| false).0, None);
    }
}
