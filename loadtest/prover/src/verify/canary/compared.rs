//! Compares a canary with the stable pods, second by second: is it shown to be worse, or shown not to be? Pure functions.

use engine::units::short;

use super::{
    counters::Counters,
    proportion::{Interval, Proportion},
};
use crate::verify::shift::{Shift, median};

/// The smallest number of requests to the canary with which it can be shown to be worse: one request that fails by chance shows nothing.
const MIN_REQUESTS: u64 = 20;

/// The smallest number of seconds with response times with which the canary can be shown to be slower. If all of five values exceed all of
/// five others, that is chance in 1 of 252 cases.
const MIN_SECONDS: usize = 5;

/// The smallest number of seconds with which the canary can be shown not to be slower. With fewer values, the normal approximation of the
/// rank test is poor.
const ENOUGH_SECONDS: usize = 20;

/// The share of the stable pods' requests that may be slower than the bound from which the next one is chosen.
const SLOW_SHARE: f64 = 0.01;

/// When a canary counts as worse.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rules {
    /// The shortest time, in seconds.
    window: usize,
    /// How much larger the share of failed requests may be, and that of slow ones.
    failures: f64,
    /// How much larger the share of refused requests may be. Larger, because clients cause refusals, and chance distributes them.
    refusals: f64,
    /// How much longer the average response time may be, as a share of that of the stable pods.
    slower: f64,
    /// A difference of average response times up to this counts as equal, in milliseconds: nobody notices it.
    slower_ms: f64,
}

impl Rules {
    pub(super) fn of(window: usize, slower: f64) -> Self {
        Self {
            window,
            failures: 0.02,
            refusals: 0.05,
            slower,
            slower_ms: 5.0,
        }
    }
}

/// What was counted in one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Second {
    /// By the canary.
    pub(super) canary: Counters,
    /// By all stable pods that are read.
    pub(super) stable: Counters,
}

/// What the seconds show.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shown {
    /// The canary is worse. The test ends at once.
    Worse,
    /// The canary is not worse.
    NotWorse,
    /// Neither: this is missing.
    Nothing(String),
}

/// What was compared.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Compared {
    pub(super) shown: Shown,
    /// In which respects the canary is worse.
    pub(super) worse: Vec<String>,
    /// Each comparison, as text.
    pub(super) seen: Vec<String>,
    /// What the canary counted.
    pub(super) canary: Counters,
    /// What the stable pods counted.
    pub(super) stable: Counters,
}

/// Compares the canary with the stable pods.
pub(super) fn compare(seconds: &[Second], rules: &Rules) -> Compared {
    let mut sums = Second::default();
    for second in seconds {
        sums.canary.add(&second.canary);
        sums.stable.add(&second.stable);
    }
    let Second { canary, stable } = sums;
    let mut found = Found {
        requests: canary.failures().all,
        ..Found::default()
    };
    found.share("failed", (canary.failures(), stable.failures()), rules.failures);
    found.share("refused", (canary.refusals(), stable.refusals()), rules.refusals);
    if let Some(bound) = slow_bound(&stable)
        && let Some(slow) = canary.slower_than(bound).zip(stable.slower_than(bound))
    {
        let name = format!("slower than {} ms", short(bound * 1000.0));
        found.share(&name, slow, rules.failures);
    }
    found.average(seconds, rules);
    let missing = match (found.undecided.first(), rules.window.checked_sub(seconds.len())) {
        (Some(undecided), _) => Some(undecided.clone()),
        (None, Some(left @ 1..)) => Some(format!("{left} more seconds")),
        (None, _) => None,
    };
    Compared {
        shown: match missing {
            _ if !found.worse.is_empty() => Shown::Worse,
            Some(missing) => Shown::Nothing(missing),
            None => Shown::NotWorse,
        },
        worse: found.worse,
        seen: found.seen,
        canary,
        stable,
    }
}

/// Judges the requests of the test's own load that got no response, such as a refused connection. No pod can have counted them, so nobody
/// knows which pod it was. The stable pods are expected to cause none. Returns what is shown, and the text.
pub(super) fn unanswered(own: Proportion, rules: &Rules) -> (Shown, String) {
    let Proportion { part, all } = own;
    let text = format!("requests of the test's own load without a response: {part} of {all}");
    let interval = own.excess_over(Proportion { part: 0, all });
    let shown = if all == 0 || interval.high <= rules.failures {
        Shown::NotWorse
    } else if interval.low > rules.failures && all >= MIN_REQUESTS {
        Shown::Worse
    } else {
        Shown::Nothing(text.clone())
    };
    (shown, text)
}

/// Returns the bound of the histogram above which a request counts as slow: the next one after the first that 99 % of the stable pods'
/// requests do not exceed. `None` without requests, or if the histogram ends before.
fn slow_bound(stable: &Counters) -> Option<f64> {
    if stable.timed <= 0.0 {
        return None;
    }
    let usual = stable
        .buckets
        .iter()
        .position(|(_, within)| *within >= (1.0 - SLOW_SHARE) * stable.timed)?;
    stable.buckets.get(usual + 1).map(|(bound, _)| *bound)
}

#[derive(Default)]
struct Found {
    /// The requests to the canary.
    requests: u64,
    worse: Vec<String>,
    undecided: Vec<String>,
    seen: Vec<String>,
}

impl Found {
    fn share(&mut self, name: &str, (canary, stable): (Proportion, Proportion), margin: f64) {
        let interval = canary.excess_over(stable);
        let text = format!(
            "{name}: {} of {} requests, stable pods {} of {}, {} to {} % more (up to {} % is equal)",
            canary.part,
            canary.all,
            stable.part,
            stable.all,
            signed(interval.low * 100.0),
            signed(interval.high * 100.0),
            short(margin * 100.0)
        );
        self.add(&text, interval, margin, true);
    }

    fn average(&mut self, seconds: &[Second], rules: &Rules) {
        let pairs = seconds
            .iter()
            .filter_map(|second| second.stable.average_ms().zip(second.canary.average_ms()));
        let (stable, canary): (Vec<f64>, Vec<f64>) = pairs.unzip();
        let Some(((shift, usual), own)) = Shift::between(&stable, &canary)
            .zip(median(&stable))
            .zip(median(&canary))
        else {
            self.undecided.push("the canary has no response times".to_owned());
            return;
        };
        let margin = (rules.slower * usual).max(rules.slower_ms);
        let text = format!(
            "average response time: {} ms, stable pods {} ms, {} to {} ms more (up to {} ms is equal)",
            short(own),
            short(usual),
            signed(shift.low),
            signed(shift.high),
            short(margin)
        );
        let interval = Interval {
            low: if stable.len() < MIN_SECONDS {
                f64::NEG_INFINITY
            } else {
                shift.low
            },
            high: if stable.len() < ENOUGH_SECONDS {
                f64::INFINITY
            } else {
                shift.high
            },
        };
        self.add(&text, interval, margin, false);
    }

    fn add(&mut self, text: &str, interval: Interval, margin: f64, counts_requests: bool) {
        self.seen.push(text.to_owned());
        if interval.high <= margin {
            return;
        }
        let is_enough = !counts_requests || self.requests >= MIN_REQUESTS;
        if interval.low > margin && is_enough {
            self.worse.push(text.to_owned());
        } else {
            self.undecided.push(text.to_owned());
        }
    }
}

fn signed(value: f64) -> String {
    format!("{value:+.1}")
}

#[cfg(test)]
mod tests;
