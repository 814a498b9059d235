//! The flags of a schedule: a rate for a while, stages, spikes, or a trace; and how arrivals lie around it.

use std::{fs, path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use engine::{
    BadConfiguration, Schedule, Segment, Spacing,
    units::{Rate, parse_duration, short},
};

/// The longest schedule: a report keeps every second of it.
const LONGEST: Duration = Duration::from_hours(7 * 24);

/// Flags of a schedule.
#[derive(Debug, Args)]
#[command(next_help_heading = "Schedule")]
pub struct ScheduleArguments {
    /// Requests in each period: 500, 500/1s, 30/1m; with --stage, the rate at the start
    #[arg(
        short = 'q',
        long,
        value_name = "RATE",
        required_unless_present_any = ["stage", "trace"]
    )]
    pub rate: Option<Rate>,

    /// For how long requests are sent: 30s, 5m
    #[arg(
        short = 'z',
        long,
        value_name = "DURATION",
        value_parser = parse_duration,
        required_unless_present_any = ["stage", "trace"],
        conflicts_with = "stage"
    )]
    pub duration: Option<Duration>,

    /// Go to a rate in a straight line over a time: 30s:500, then for example 1m:500 to stay, 0s:2000 to jump, 10s:0 to
    /// end (repeat for each)
    #[arg(long, value_name = "DURATION:RATE")]
    pub stage: Vec<Stage>,

    /// At a time, for a time, at a rate, in place of what the schedule says: 30s:5s:2000 (repeat for each)
    #[arg(long, value_name = "AT:DURATION:RATE")]
    pub spike: Vec<Spike>,

    /// A file of `seconds,requests per second` lines: each rate holds until the next line, the last line is the end and
    /// its rate 0
    #[arg(long, value_name = "FILE", conflicts_with_all = ["rate", "duration", "stage"])]
    pub trace: Option<PathBuf>,

    /// How arrivals lie around the rate: at even distances, or at random as those of many independent users
    #[arg(long, value_enum, default_value_t = ArrivalsArgument::Even)]
    pub arrivals: ArrivalsArgument,

    /// Where the random numbers of --arrivals poisson begin; the same seed gives the same arrivals
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,
}

/// How arrivals lie around the rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ArrivalsArgument {
    /// At even distances.
    Even,
    /// As a Poisson process.
    Poisson,
}

impl ScheduleArguments {
    /// The schedule that these flags describe.
    ///
    /// # Errors
    /// [`BadConfiguration`] when it is empty, too long, or its trace cannot be used.
    pub fn schedule(&self) -> anyhow::Result<Schedule> {
        let segments = match &self.trace {
            Some(path) => {
                let wrong = |error: String| BadConfiguration::new(format!("{}: {error}", path.display()));
                let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
                parse_trace(&text).map_err(wrong)?
            }
            None => self.stages(),
        };
        let length: Duration = segments.iter().map(|segment| segment.length).sum();
        if length > LONGEST {
            return Err(BadConfiguration::new("a run lasts at most 7 days").into());
        }
        let segments = with_spikes(segments, &self.spike).map_err(BadConfiguration::new)?;
        let spacing = match self.arrivals {
            ArrivalsArgument::Even => Spacing::Even,
            ArrivalsArgument::Poisson => Spacing::Poisson { seed: self.seed },
        };
        let schedule = Schedule::from_segments(&segments, spacing);
        if schedule.expected(schedule.duration()) <= 0.0 {
            return Err(
                BadConfiguration::new("the schedule has no request in it: its rate is 0 throughout").into(),
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

/// A rate to go to, and the time to take.
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
            .ok_or_else(|| format!("`{text}` does not say how long; write DURATION:RATE, as in 30s:500"))?;
        Ok(Self {
            length: parse_length(length)?,
            rate: parse_rate(rate)?,
        })
    }
}

/// A rate for a time, in place of another.
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
                "`{text}` is no spike; write AT:DURATION:RATE, as in 30s:5s:2000"
            ));
        };
        Ok(Self {
            at: parse_length(at)?,
            length: parse_duration(length)?,
            rate: parse_rate(rate)?,
        })
    }
}

/// A duration, 0 included.
fn parse_length(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => humantime::parse_duration(text)
            .map_err(|error| format!("`{text}`: {error}; write 500ms, 30s, 5m")),
    }
}

/// A rate in requests a second, 0 included.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text {
        "0" => Ok(0.0),
        _ => text.parse::<Rate>().map(|rate| rate.as_per_second()),
    }
}

/// The segments, with the spikes in place of what they fall on.
fn with_spikes(mut segments: Vec<Segment>, spikes: &[Spike]) -> Result<Vec<Segment>, String> {
    for spike in spikes {
        let whole: Duration = segments.iter().map(|segment| segment.length).sum();
        let end = spike.at + spike.length;
        if end > whole {
            return Err(format!(
                "a spike ends {} s after the start, and the schedule after {} s",
                short(end.as_secs_f64()),
                short(whole.as_secs_f64())
            ));
        }
        let (mut cut, _) = parts(&segments, spike.at);
        cut.push(Segment::constant(spike.length, spike.rate));
        cut.extend(parts(&segments, end).1);
        segments = cut;
    }
    Ok(segments)
}

/// What of the segments lies before `moment`, and what after it.
fn parts(segments: &[Segment], moment: Duration) -> (Vec<Segment>, Vec<Segment>) {
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

/// A trace: `seconds,rate` lines, each rate until the next line's time. A first line in words is a heading; empty lines
/// and those that begin with `#` are passed over.
fn parse_trace(text: &str) -> Result<Vec<Segment>, String> {
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
            return Err(format!("line {number}: a rate lies between 0 and 1e9"));
        }
        if !(0.0..=LONGEST.as_secs_f64()).contains(&time) {
            return Err(format!(
                "line {number}: a time lies between 0 and 7 days, in seconds"
            ));
        }
        let time = Duration::from_secs_f64(time);
        if rows.last().is_some_and(|(_, last, _)| *last >= time) {
            return Err(format!(
                "line {number}: its time is not after that of the line before"
            ));
        }
        rows.push((number, time, rate));
    }
    match (rows.first(), rows.last()) {
        (Some((number, first, _)), _) if !first.is_zero() => {
            Err(format!("line {number}: a trace begins at 0 seconds"))
        }
        (_, Some((number, _, rate))) if rows.len() < 2 || *rate != 0.0 => Err(format!(
            "line {number}: a trace ends with a line whose rate is 0, at the time of its end"
        )),
        (Some(_), Some(_)) => Ok(rows
            .windows(2)
            .map(|pair| Segment::constant(pair[1].1.saturating_sub(pair[0].1), pair[0].2))
            .collect()),
        _ => Err("there is no line `seconds,requests per second` in it".to_owned()),
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
    fn a_spike_replaces_what_it_falls_on_and_a_ramp_goes_on_behind_it() {
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
        assert!(with_spikes(vec![ramp], &[late]).unwrap_err().contains("11 s"));
    }

    #[test]
    fn a_trace_is_read_line_by_line() {
        let text = "seconds,rate\n0,10\n\n# a pause\n2.5,0\n4,30\n5,0\n";
        assert_eq!(
            seconds(&parse_trace(text).unwrap()),
            [(2.5, 10.0, 10.0), (1.5, 0.0, 0.0), (1.0, 30.0, 30.0)]
        );
    }

    #[test]
    fn a_trace_that_cannot_be_used_is_refused_by_line() {
        for (text, says) in [
            ("", "no line"),
            ("seconds,rate\n", "no line"),
            ("1,10\n2,0", "line 1: a trace begins at 0"),
            ("0,10", "line 1: a trace ends"),
            ("0,10\n5,10", "line 2: a trace ends"),
            ("0,10\n5;0", "line 2: `5;0`"),
            ("0,10\n5,many", "line 2"),
            ("0,10\n0,20\n5,0", "line 2: its time"),
            ("0,-1\n5,0", "line 1: a rate"),
            ("0,10\nnan,0", "line 2"),
            ("0,10\n1e9,0", "line 2: a time"),
        ] {
            let said = parse_trace(text).unwrap_err();
            assert!(said.contains(says), "{text:?} gives {said:?}");
        }
    }
}
