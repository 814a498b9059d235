//! The time of a change, from the API and from the own observation.

use std::time::Instant;

use jiff::Timestamp;

use super::super::trace::{MAX_WATCH_DELAY, TimeRange};

/// The resolution of the times in the API, in seconds.
const API_RESOLUTION: f64 = 1.0;

/// The origin of all times of a run: the start of the load, on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) instant: Instant,
    pub(super) timestamp: Timestamp,
}

/// The start of the previous read, and the end of the present one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    pub(super) after: Instant,
    pub(super) by: Instant,
}

impl Read {
    /// Returns the time of a change that the present read shows.
    pub(super) fn of(self, api: Option<Timestamp>) -> Moment {
        let Self { after, by } = self;
        Moment { api, after, by }
    }
}

/// The time of a change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// The time in the API, which is rounded down to a second; `None` if the API has none.
    pub(super) api: Option<Timestamp>,
    /// The start of the last read without the change.
    pub(super) after: Instant,
    /// The end of the first read with the change.
    pub(super) by: Instant,
}

impl Moment {
    /// Returns the range in seconds since the origin: the part of the API's second that the own reads allow. If they
    /// exclude it, the clock of the cluster is wrong, and the own reads count.
    pub(super) fn range(self, origin: Origin) -> TimeRange {
        let seconds = |at: Instant| {
            at.checked_duration_since(origin.instant).map_or_else(
                || -origin.instant.duration_since(at).as_secs_f64(),
                |since| since.as_secs_f64(),
            )
        };
        let (earliest, latest) = (seconds(self.after) - MAX_WATCH_DELAY, seconds(self.by));
        let Some(api) = self.api else {
            return TimeRange { earliest, latest };
        };
        let api = api.duration_since(origin.timestamp).as_secs_f64();
        let both = TimeRange {
            earliest: earliest.max(api),
            latest: latest.min(api + API_RESOLUTION),
        };
        if both.earliest <= both.latest {
            both
        } else {
            TimeRange { earliest, latest }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_api_and_the_reads_narrow_each_other_and_a_wrong_clock_does_not_count() {
        let origin = Origin {
            instant: Instant::now(),
            timestamp: Timestamp::from_second(1_800_000_000).unwrap(),
        };
        let moment = |api: Option<i64>, after: f64, by: f64| {
            let moment = Moment {
                api: api.map(|second| Timestamp::from_second(1_800_000_000 + second).unwrap()),
                after: origin.instant + Duration::from_secs_f64(after),
                by: origin.instant + Duration::from_secs_f64(by),
            };
            let range = moment.range(origin);
            [range.earliest, range.latest].map(|seconds| format!("{seconds:.3}"))
        };
        assert_eq!(moment(None, 4.0, 5.0), ["3.750", "5.000"]);
        assert_eq!(moment(Some(4), 4.5, 9.5), ["4.250", "5.000"]);
        assert_eq!(moment(Some(4), 3.0, 4.5), ["4.000", "4.500"]);
        assert_eq!(
            moment(Some(60), 3.0, 4.5),
            ["2.750", "4.500"],
            "a clock that is 1 min fast"
        );
    }
}
