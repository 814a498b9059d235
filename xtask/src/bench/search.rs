//! Finds the highest rate that a generator holds: coarse steps until it misses one, then a bisection.

/// The first rate, in requests per second.
const START: u32 = 10_000;

/// The factor between two rates as long as the generator held every rate, or missed every rate.
const COARSE: f64 = 1.25;

/// The search ends when the lowest missed rate is at most this factor above the highest held rate.
const FINE: f64 = 1.05;

/// The lowest rate that is tried.
const LOWEST: u32 = 500;

/// A running search.
#[derive(Default)]
pub(super) struct Search {
    held: Option<u32>,
    missed: Option<u32>,
    /// The rate that was missed once. A rate counts as missed after two misses in a row, so that a short disturbance does
    /// not end a search.
    missed_once: Option<u32>,
}

impl Search {
    /// The rate to try next. `None` at the end of the search.
    pub(super) fn next(&self) -> Option<u32> {
        match (self.missed_once, self.held, self.missed) {
            (Some(rate), _, _) => Some(rate),
            (None, None, None) => Some(START),
            (None, Some(held), None) => Some(times(held, COARSE)),
            (None, None, Some(missed)) => Some(times(missed, 1.0 / COARSE)).filter(|rate| *rate >= LOWEST),
            (None, Some(held), Some(missed)) => {
                let gap = f64::from(missed) / f64::from(held);
                (gap > FINE).then(|| times(held, gap.sqrt()))
            }
        }
    }

    /// Records whether the generator held the [`next`](Search::next) rate.
    pub(super) fn record(&mut self, rate: u32, holds: bool) {
        let is_second_try = self.missed_once.take() == Some(rate);
        match (holds, is_second_try) {
            (true, _) => self.held = Some(rate),
            (false, true) => self.missed = Some(rate),
            (false, false) => self.missed_once = Some(rate),
        }
    }

    /// The highest held rate, if there is one.
    pub(super) fn highest(&self) -> Option<u32> {
        self.held
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are far below 2^32, and positive"
)]
fn times(rate: u32, factor: f64) -> u32 {
    (f64::from(rate) * factor).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a search against `holds`, and returns the highest rate and the number of tries.
    fn search(mut holds: impl FnMut(u32) -> bool) -> (Option<u32>, usize) {
        let mut search = Search::default();
        let mut tries = 0;
        while let Some(rate) = search.next() {
            tries += 1;
            assert!(tries < 100, "the search does not end: {rate}/s");
            search.record(rate, holds(rate));
        }
        (search.highest(), tries)
    }

    #[test]
    fn the_highest_rate_is_found_within_5_percent() {
        for limit in [700, 9_999, 10_000, 12_499, 34_567, 120_000] {
            let (found, tries) = search(|rate| rate <= limit);
            let found = found.unwrap();
            assert!(
                found <= limit && f64::from(found) * 1.051 > f64::from(limit),
                "{found} of {limit}"
            );
            assert!(tries < 40, "{tries} tries for {limit}");
        }
    }

    #[test]
    fn one_miss_does_not_end_a_search_and_two_do() {
        let mut misses = 1;
        let with_one_miss = |rate| rate <= 40_000 && (rate < 20_000 || std::mem::take(&mut misses) == 0);
        assert_eq!(search(with_one_miss).0, search(|rate| rate <= 40_000).0);
    }

    #[test]
    fn a_search_without_a_held_rate_finds_nothing() {
        assert_eq!(search(|_| false).0, None);
    }
}
