//! The random waits before the loads of several runs.

use std::time::Duration;

use prover::prove::SYNC_PERIOD;

/// The number of sync periods of the HPA over which the waits are distributed. The cluster becomes idle at a fixed time
/// after a sync: without a wait, each run would begin in the same phase of the sync period.
const PERIODS: u32 = 2;

/// Returns the wait between the idle cluster and the load, for each run. A single run does not wait.
pub(super) fn waits(seed: u64, runs: u16) -> Vec<Duration> {
    if runs == 1 {
        return vec![Duration::ZERO];
    }
    let mut random = fastrand::Rng::with_seed(seed);
    let longest = SYNC_PERIOD * PERIODS;
    (0..runs).map(|_| longest.mul_f64(random.f64())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_waits_cover_two_sync_periods_evenly_and_follow_from_the_seed() {
        let all = waits(7, 1000);
        assert_eq!(all, waits(7, 1000));
        assert_ne!(all, waits(8, 1000));
        for third in 0..6 {
            let (from, to) = (third * 5, (third + 1) * 5);
            let inside = |wait: &&Duration| (from..to).contains(&wait.as_secs());
            let count = all.iter().filter(inside).count();
            assert!(
                (120..220).contains(&count),
                "{count} of 1,000 waits from {from} to {to} s"
            );
        }
        assert!(all.iter().all(|wait| *wait < 2 * SYNC_PERIOD));
    }

    #[test]
    fn a_single_run_does_not_wait() {
        assert_eq!(waits(7, 1), [Duration::ZERO]);
    }
}
