//! The flags of a schedule: a constant rate, stages, spikes or a trace, and the spacing of the arrivals.

use std::{fs, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use engine::{
    BadConfiguration, Schedule, Segment, Spacing,
    units::{Rate, parse_duration, short},
};

/// The maximum length of a schedule. A report contains an entry for every second.
const MAX_LENGTH: Duration = Duration::from_hours(7 * 24);

/// Flags of a schedule.
#[derive(Debug, Args)]
#[command(next_help_heading = "Schedule")]
pub struct ScheduleArguments {
    /// Request rate: 500, 500/1s, 30/1m; with --stage, the rate at the start
    #[arg(
        short = 'q',
        long,
        value_name = "RATE",
        required_unless_present_any = ["stage", "trace"]
    )]
    pub rate: Option<Rate>,

    /// Duration of the load: 30s, 5m
    #[arg(
        short = 'z',
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        required_unless_present_any = ["stage", "trace"],
        conflicts_with = "stage"
    )]
    pub duration: Option<Duration>,

    /// Change the rate linearly over a duration: 30s:500; then 1m:500 holds the rate, 0s:2000 jumps, 10s:0 ramps down
    /// (repeatable)
    #[arg(long, value_name = "DURATION:RATE")]
    pub stage: Vec<Stage>,

    /// Replace the rate of the schedule from a time on for a duration: 30s:5s:2000 (repeatable)
    #[arg(long, value_name = "AT:DURATION:RATE")]
    pub spike: Vec<Spike>,

    /// File with lines `seconds,requests per second`: each rate holds until the next line; the last line has rate 0 and
    /// marks the end
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "duration", "stage"])]
    pub trace: Option<PathBuf>,

    /// Send requests for this long before the schedule, at its first rate above 0; the numbers of the report exclude
    /// them
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    pub warm_up: Option<Duration>,

    /// Spacing of the arrivals: even, or random as for many independent users
    #[arg(long, value_enum, default_value_t = ArrivalsArgument::Even)]
    pub arrivals: ArrivalsArgument,

    /// Random seed of --arrivals poisson; equal seeds produce equal arrivals
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// The spacing of the arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArgument {
    /// Equal intervals at a constant rate
    Even,
    /// Random intervals, as in a Poisson process
    Poisson,
}

impl ScheduleArguments {
    /// Returns the schedule.
    ///
    /// # Errors
    /// [`BadConfiguration`] when the schedule contains no request or is too long, or when the trace is not valid.
    pub fn schedule(&self) -> anyhow::Result<Schedule> {
        let segments = match &self.trace {
            Some(path) => {
                let bad_trace = |error: String| BadConfiguration::new(format!("{}: {error}", path.display()));
                let text = fs::read_to_string(path).map_err(|error| bad_trace(error.to_string()))?;
                parse_trace(&text).map_err(bad_trace)?
            }
            None => self.stages(),
        };
        let length: Duration = segments.iter().map(|segment| segment.length).sum();
        if length.saturating_add(self.warm_up.unwrap_or_default()) > MAX_LENGTH {
            return Err(BadConfiguration::new("a run lasts at most 7 days, with its warm-up").into());
        }
        let segments = with_spikes(segments, &self.spike).map_err(BadConfiguration::new)?;
        let spacing = match self.arrivals {
            ArrivalsArgument::Even => Spacing::Even,
            ArrivalsArgument::Poisson => Spacing::Poisson { seed: self.seed },
        };
        let schedule = Schedule::from_segments(&segments, spacing);
        if schedule.expected(schedule.duration()) <= 0.0 {
            return Err(
                BadConfiguration::new("the schedule contains no request: its rate is always 0").into(),
            );
        }
        Ok(schedule)
    }

    fn stages(&self) -> Vec<Segment> {
        let start = self.rate.map_or(0.0, |rate| rate.as_per_second());
        if let Some(duration) = self.duration {
            return vec![Segment::constant(duration, start)];
        }
        let mut from = start;
        let segment = |stage: &Stage| {
            let segment = Segment {
                length: stage.length,
                from,
                to: stage.rate,
            };
            from = stage.rate;
            segment
        };
        self.stage.iter().map(segment).collect()
    }
}

/// A linear change to a rate over a duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    length: Duration,
    rate: f64,
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (length, rate) = text
            .split_once(':')
            .ok_or_else(|| format!("`{text}` has no duration; write DURATION:RATE, for example 30s:500"))?;
        Ok(Self {
            length: parse_length(length)?,
            rate: parse_rate(rate)?,
        })
    }
}

/// A rate that replaces the schedule's rate for a duration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    at: Duration,
    length: Duration,
    rate: f64,
}

impl FromStr for Spike {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<&str> = text.splitn(3, ':').collect();
        let [at, length, rate] = parts[..] else {
            return Err(format!(
                "`{text}` is not a spike; write AT:DURATION:RATE, for example 30s:5s:2000"
            ));
        };
        Ok(Self {
            at: parse_length(at)?,
            length: parse_duration(length)?,
            rate: parse_rate(rate)?,
        })
    }
}

/// Parses a duration of 0 or more.
fn parse_length(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => humantime::parse_duration(text)
            .map_err(|error| format!("`{text}`: {error}; write for example 500ms, 30s or 5m")),
    }
}

/// Parses a rate of 0 or more; returns requests per second.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text {
        "0" => Ok(0.0),
        _ => text.parse::<Rate>().map(|rate| rate.as_per_second()),
    }
}

/// Replaces the parts of the segments that the spikes cover.
fn with_spikes(mut segments: Vec<Segment>, spikes: &[Spike]) -> Result<Vec<Segment>, String> {
    for spike in spikes {
        let total: Duration = segments.iter().map(|segment| segment.length).sum();
        let end = spike.at + spike.length;
        if end > total {
            return Err(format!(
                "a spike ends at {} s, after the end of the schedule at {} s",
                short(end.as_secs_f64()),
                short(total.as_secs_f64())
            ));
        }
        let (mut replaced, _) = split_at(&segments, spike.at);
        replaced.push(Segment::constant(spike.length, spike.rate));
        replaced.extend(split_at(&segments, end).1);
        segments = replaced;
    }
    Ok(segments)
}

/// Splits the segments at `moment` and returns the parts before and after it.
fn split_at(segments: &[Segment], moment: Duration) -> (Vec<Segment>, Vec<Segment>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    let mut start = Duration::ZERO;
    for segment in segments {
        let left = moment.saturating_sub(start).min(segment.length);
        let right = segment.length.saturating_sub(left);
        start += segment.length;
        let share = if segment.length.is_zero() {
            0.0
        } else {
            left.as_secs_f64() / segment.length.as_secs_f64()
        };
        let rate = segment.from + (segment.to - segment.from) * share;
        before.push(Segment {
            length: left,
            from: segment.from,
            to: rate,
        });
        after.push(Segment {
            length: right,
            from: rate,
            to: segment.to,
        });
    }
    (before, after)
}

/// Parses a trace: lines `seconds,rate`, where each rate holds until the time of the next line.
///
/// A first line with letters is a heading. Empty lines and lines that begin with `#` are ignored, and so is the byte order mark
/// with which spreadsheets begin a file.
fn parse_trace(text: &str) -> Result<Vec<Segment>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rows: Vec<(usize, Duration, f64)> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let (number, line) = (index + 1, line.trim());
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let row = line.split_once(',').and_then(|(time, rate)| {
            Some((time.trim().parse::<f64>().ok()?, rate.trim().parse::<f64>().ok()?))
        });
        let Some((time, rate)) = row else {
            if rows.is_empty() && line.chars().any(char::is_alphabetic) {
                continue;
            }
            return Err(format!(
                "line {number}: `{line}` is not `seconds,requests per second`"
            ));
        };
        if !(0.0..=1e9).contains(&rate) {
            return Err(format!("line {number}: the rate is not between 0 and 1e9"));
        }
        if !(0.0..=MAX_LENGTH.as_secs_f64()).contains(&time) {
            return Err(format!(
                "line {number}: the time is not between 0 and 7 days, in seconds"
            ));
        }
        let time = Duration::from_secs_f64(time);
        if rows.last().is_some_and(|(_, last, _)| *last >= time) {
            return Err(format!(
                "line {number}: the time is not after the time of the previous line"
            ));
        }
        rows.push((number, time, rate));
    }
    match (rows.first(), rows.last()) {
        (Some((number, first, _)), _) if !first.is_zero() => {
            Err(format!("line {number}: a trace must begin at 0 seconds"))
        }
        (_, Some((number, _, rate))) if rows.len() < 2 || *rate != 0.0 => Err(format!(
            "line {number}: the last line of a trace must have the rate 0 and the end time"
        )),
        (Some(_), Some(_)) => Ok(rows
            .windows(2)
            .map(|pair| Segment::constant(pair[1].1.saturating_sub(pair[0].1), pair[0].2))
            .collect()),
        _ => Err("no line `seconds,requests per second`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(segments: &[Segment]) -> Vec<(f64, f64, f64)> {
        segments
            .iter()
            .filter(|segment| !segment.length.is_zero())
            .map(|segment| (segment.length.as_secs_f64(), segment.from, segment.to))
            .collect()
    }

    #[test]
    fn a_spike_replaces_a_part_of_a_ramp_and_the_ramp_continues_after_it() {
        let ramp = Segment {
            length: Duration::from_secs(10),
            from: 0.0,
            to: 100.0,
        };
        let spike = "4s:2s:500".parse().unwrap();
        assert_eq!(
            seconds(&with_spikes(vec![ramp], &[spike]).unwrap()),
            [(4.0, 0.0, 40.0), (2.0, 500.0, 500.0), (4.0, 60.0, 100.0)]
        );
        let late = "9s:2s:500".parse().unwrap();
        assert!(
            with_spikes(vec![ramp], &[late])
                .unwrap_err()
                .contains("ends at 11 s")
        );
    }

    #[test]
    fn each_trace_line_sets_the_rate_until_the_next_line() {
        let text = "seconds,rate\n0,10\n\n# a pause\n2.5,0\n4,30\n5,0\n";
        let expected = [(2.5, 10.0, 10.0), (1.5, 0.0, 0.0), (1.0, 30.0, 30.0)];
        assert_eq!(seconds(&parse_trace(text).unwrap()), expected);
        let without_heading = "\u{feff}0,10\r\n2.5,0\r\n4,30\r\n5,0\r\n";
        assert_eq!(seconds(&parse_trace(without_heading).unwrap()), expected);
    }

    #[test]
    fn an_invalid_trace_is_rejected_with_its_line_number() {
        for (text, message) in [
            ("", "no line"),
            ("seconds,rate\n", "no line"),
            ("1,10\n2,0", "line 1: a trace must begin at 0"),
            ("0,10", "line 1: the last line"),
            ("0,10\n5,10", "line 2: the last line"),
            ("0,10\n5;0", "line 2: `5;0`"),
            ("0,10\n5,many", "line 2"),
            ("0,10\n0,20\n5,0", "line 2: the time"),
            ("0,-1\n5,0", "line 1: the rate"),
            ("0,10\nnan,0", "line 2"),
            ("0,10\n1e9,0", "line 2: the time"),
        ] {
            let error = parse_trace(text).unwrap_err();
            assert!(
                error.contains(message),
                "{text:?}: {error:?} does not contain {message:?}"
            );
        }
    }
}
