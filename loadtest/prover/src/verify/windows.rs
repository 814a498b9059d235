//! Compares two consecutive windows of observations, second by second: have response time, load and replicas settled? Pure
//! functions.

use std::{collections::BTreeMap, time::Duration};

use engine::units::short;

use super::shift::{Shift, median};

/// The share of the seconds of a window that must have a value. One read of the cluster in ten may time out on a busy machine.
const MIN_SHARE_OF_VALUES: f64 = 0.8;

/// The number of seconds between two comparisons. Each comparison of an unsettled deployment is another chance of a wrong verdict,
/// each one of a settled deployment another chance of the right one.
const SECONDS_PER_COMPARISON: usize = 10;

/// The number of problems that a text names.
const NAMED: usize = 5;

/// The replicas of a Deployment with an HPA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replicas {
    /// The number that the HPA wants.
    pub desired: i32,
    /// The number in the spec of the Deployment.
    pub current: i32,
    /// The number of ready pods.
    pub ready: i32,
}

impl Replicas {
    fn describe(self) -> String {
        format!(
            "desired {}, current {}, ready {}",
            self.desired, self.current, self.ready
        )
    }
}

/// The observation of an HPA and its Deployment in one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HpaSecond {
    /// The replicas.
    pub replicas: Replicas,
    /// The metric of the HPA, summed over its pods, in requests per second; `None` if it has no value.
    pub rate: Option<f64>,
}

/// The observations of one second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Second {
    /// The median latency of the requests of this second, in milliseconds; `None` without a request.
    pub latency_ms: Option<f64>,
    /// The number of requests that failed.
    pub failed: u64,
    /// The HPAs that could be read, by name.
    pub hpas: BTreeMap<String, HpaSecond>,
}

/// When two windows count as equal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// The length of a window, in seconds.
    pub window: usize,
    /// The largest difference between the windows, as a share of the median of the first one.
    pub share: f64,
    /// A difference of latencies up to this counts as equal, in milliseconds: nobody notices it.
    pub latency_floor_ms: f64,
    /// A difference of rates up to this counts as equal, in requests per second.
    pub rate_floor: f64,
}

impl Tolerance {
    /// The shortest window. With fewer values, the normal approximation of the rank test is poor.
    pub const MIN_WINDOW: Duration = Duration::from_secs(20);

    /// The defaults for a window of this length. 25 % is the tolerance of Kayenta's judge. Two milliseconds are less than the
    /// network adds. One request per second is a person who visits the service, as in the proof of scaling.
    #[must_use]
    pub fn of_window(window: Duration) -> Self {
        Self {
            window: usize::try_from(window.as_secs()).unwrap_or(usize::MAX),
            share: 0.25,
            latency_floor_ms: 2.0,
            rate_floor: 1.0,
        }
    }
}

impl Tolerance {
    /// Returns whether the windows are compared after this number of seconds: after two windows, and then every 10 s.
    #[must_use]
    pub fn is_due(&self, seconds: usize) -> bool {
        seconds
            .checked_sub(2 * self.window)
            .is_some_and(|more| more.is_multiple_of(SECONDS_PER_COMPARISON))
    }
}

/// The comparison of one series over two windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The median of the first window.
    pub first: f64,
    /// The median of the second window.
    pub second: f64,
    /// The shift from the first window to the second.
    pub shift: Shift,
    /// The largest shift that counts as equal.
    pub margin: f64,
}

impl Compared {
    fn is_equal(&self) -> bool {
        self.shift.is_within(self.margin)
    }

    fn describe(&self, unit: &str) -> String {
        let Self {
            first,
            second,
            shift,
            margin,
        } = self;
        format!(
            "{} then {} {unit}, shift {:+.2} ({:+.2} to {:+.2}, within ±{} is equal)",
            short(*first),
            short(*second),
            shift.estimate,
            shift.low,
            shift.high,
            short(*margin)
        )
    }
}

/// The comparison of the last two windows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What has not settled; empty if everything has.
    pub problems: Vec<String>,
    /// The latency; `None` if it has too few values.
    pub latency: Option<Compared>,
    /// The rate of each HPA with enough values.
    pub rates: BTreeMap<String, Compared>,
    /// What was compared, as text.
    pub seen: Vec<String>,
}

/// Compares the last two windows of `seconds`. `hpas` are the names of the HPAs that must have settled. `None` if there are
/// fewer than two windows.
#[must_use]
pub fn compare(seconds: &[Second], hpas: &[String], tolerance: &Tolerance) -> Option<Comparison> {
    let last = &seconds[seconds.len().checked_sub(2 * tolerance.window)?..];
    let windows = last.split_at(tolerance.window);
    let mut found = Comparison::default();
    let latency = series(windows, tolerance.share, tolerance.latency_floor_ms, |second| {
        second.latency_ms
    });
    found.latency = found.add("response time", "ms", latency);
    let failed: u64 = last.iter().map(|second| second.failed).sum();
    if failed > 0 {
        found.problems.push(format!("requests failed: {failed}"));
    }
    for hpa in hpas {
        let rate = series(windows, tolerance.share, tolerance.rate_floor, |second| {
            second.hpas.get(hpa)?.rate
        });
        if let Some(rate) = found.add(&format!("load of {hpa}"), "requests/s", rate) {
            found.rates.insert(hpa.clone(), rate);
        }
        found.add_replicas(hpa, last);
    }
    Some(found)
}

impl Comparison {
    fn add(&mut self, name: &str, unit: &str, compared: Result<Compared, String>) -> Option<Compared> {
        match compared {
            Ok(compared) => {
                let text = format!("{name}: {}", compared.describe(unit));
                if !compared.is_equal() {
                    self.problems.push(text.clone());
                }
                self.seen.push(text);
                Some(compared)
            }
            Err(problem) => {
                self.problems.push(format!("{name}: {problem}"));
                None
            }
        }
    }

    fn add_replicas(&mut self, hpa: &str, seconds: &[Second]) {
        let observed = seconds
            .iter()
            .filter_map(|second| Some(second.hpas.get(hpa)?.replicas));
        let mut different: Vec<Replicas> = Vec::new();
        for replicas in observed {
            if different.last() != Some(&replicas) {
                different.push(replicas);
            }
        }
        let problem = match &different[..] {
            [] => "cannot be read".to_owned(),
            [only] if only.desired == only.current && only.current == only.ready => {
                self.seen
                    .push(format!("replicas of {hpa}: {} throughout", only.ready));
                return;
            }
            [only] => only.describe(),
            several => {
                let texts = several.iter().take(NAMED).map(|replicas| replicas.describe());
                format!("changed: {}", texts.collect::<Vec<_>>().join("; then "))
            }
        };
        self.problems.push(format!("replicas of {hpa}: {problem}"));
    }

    /// Returns whether everything has settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Compares one series over two windows.
fn series(
    (first, second): (&[Second], &[Second]),
    share: f64,
    floor: f64,
    read: impl Fn(&Second) -> Option<f64>,
) -> Result<Compared, String> {
    let values = |window: &[Second]| -> Vec<f64> { window.iter().filter_map(&read).collect() };
    let (first_values, second_values) = (values(first), values(second));
    for (window, values) in [(first, &first_values), (second, &second_values)] {
        #[expect(clippy::cast_precision_loss, reason = "windows of some hundred values")]
        let share_of_values = values.len() as f64 / window.len() as f64;
        if share_of_values < MIN_SHARE_OF_VALUES {
            return Err(format!(
                "{} of {} seconds have a value",
                values.len(),
                window.len()
            ));
        }
    }
    let no_value = || "no value".to_owned();
    let median_of_first = median(&first_values).ok_or_else(no_value)?;
    Ok(Compared {
        first: median_of_first,
        second: median(&second_values).ok_or_else(no_value)?,
        shift: Shift::between(&first_values, &second_values).ok_or_else(no_value)?,
        margin: (share * median_of_first).max(floor),
    })
}

#[cfg(test)]
#[path = "windows/tests.rs"]
mod tests;
