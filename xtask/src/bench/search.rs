//! Finds the highest rate that holds: up in coarse steps until one is missed, then between the two by halves.

/// Where a search begins, in requests per second.
const START: u32 = 10_000;

/// From one rate to the next, while every one of them holds (or none).
const COARSE: f64 = 1.25;

/// How close the highest that holds and the lowest that is missed come in the end.
const FINE: f64 = 1.05;

/// Below it nothing is looked for.
const LEAST: u32 = 500;

/// A search that is under way.
#[derive(Default)]
pub(super) struct Search {
    held: Option<u32>,
    missed: Option<u32>,
    /// Missed once. It takes two misses in a row: what the machine did for a moment must not end a search.
    doubted: Option<u32>,
}

impl Search {
    /// The rate to try next; `None` when the search is over.
    pub(super) fn next(&self) -> Option<u32> {
        match (self.doubted, self.held, self.missed) {
            (Some(rate), _, _) => Some(rate),
            (None, None, None) => Some(START),
            (None, Some(held), None) => Some(times(held, COARSE)),
            (None, None, Some(missed)) => Some(times(missed, 1.0 / COARSE)).filter(|rate| *rate >= LEAST),
            (None, Some(held), Some(missed)) => {
                let gap = f64::from(missed) / f64::from(held);
                (gap > FINE).then(|| times(held, gap.sqrt()))
            }
        }
    }

    /// What came of trying the [`next`](Search::next) rate.
    pub(super) fn tried(&mut self, rate: u32, holds: bool) {
        let is_doubted = self.doubted.take() == Some(rate);
        match (holds, is_doubted) {
            (true, _) => self.held = Some(rate),
            (false, true) => self.missed = Some(rate),
            (false, false) => self.doubted = Some(rate),
        }
    }

    /// The highest rate that held, if any did.
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

    /// Searches where `holds` says what does, and returns the highest rate and the number of tries.
    fn search(mut holds: impl FnMut(u32) -> bool) -> (Option<u32>, usize) {
        let mut search = Search::default();
        let mut tries = 0;
        while let Some(rate) = search.next() {
            tries += 1;
            assert!(tries < 100, "no end in sight at {rate}/s");
            search.tried(rate, holds(rate));
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
        let with_hiccup = |rate| rate <= 40_000 && (rate < 20_000 || std::mem::take(&mut misses) == 0);
        assert_eq!(search(with_hiccup).0, search(|rate| rate <= 40_000).0);
    }

    #[test]
    fn where_nothing_holds_nothing_is_found() {
        assert_eq!(search(|_| false).0, None);
    }
}
