//! The flags of a load, and how they become a plan.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use super::ScheduleArguments;
use crate::{
    exit::BadConfiguration,
    load::{Bounds, Expectations, Mix, Plan, Schedule, Target, Threshold, parse_header, parse_method},
    units::{Limit, MaxFailed, parse_duration, parse_limit},
};

/// Connections, where the user says nothing and the command neither.
const CONNECTIONS: usize = 100;

/// Flags of `loadtest run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Where requests go, as in `http://127.0.0.1:5000/hello`
    #[arg(
        value_name = "URL",
        required_unless_present = "target",
        conflicts_with = "target"
    )]
    pub url: Option<String>,

    /// How many requests may fail before the run does: a number, or a share as in 0.1% (default: 0, or what a threshold
    /// on `failed` says)
    #[arg(long, value_name = "NUMBER")]
    pub max_failed: Option<MaxFailed>,

    /// What the run must reach: 'p(99)<500' 'mean<20ms' 'max<2s' 'rate>990' 'failed<0.1%' 'dropped<1' (more than one, or
    /// repeat)
    #[arg(long, value_name = "THRESHOLD", num_args = 1..)]
    pub threshold: Vec<Threshold>,

    /// Write the report to this file, as JSON
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Print the report as JSON instead of text
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub schedule: ScheduleArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "a text here would replace that of the command")]
    pub load: LoadArguments,
}

/// Flags of everything that sends load.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// One of several targets with its share of the requests: `3 GET http://host/hello` (repeat for each)
    #[arg(long, value_name = "WEIGHT METHOD URL", help_heading = "Requests")]
    pub target: Vec<Target>,

    /// Request method of the URL
    #[arg(short, long, default_value = "GET", value_parser = parse_method, conflicts_with = "target", help_heading = "Requests")]
    pub method: Method,

    /// A header of every request: 'Authorization: mytoken' (repeat for each)
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header, help_heading = "Requests")]
    pub header: Vec<(HeaderName, HeaderValue)>,

    /// The body of every request
    #[arg(short = 'd', long, value_name = "TEXT", help_heading = "Requests")]
    pub body: Option<String>,

    /// A status that counts as a success (repeat for more; default: any 2xx; redirects are not followed)
    #[arg(long, value_name = "STATUS", value_parser = parse_status, help_heading = "Requests")]
    pub expect_status: Vec<StatusCode>,

    /// A text that the body must contain (repeat for more, of which one must be there)
    #[arg(long, value_name = "TEXT", help_heading = "Requests")]
    pub expect_body: Vec<String>,

    /// From the moment a request is due until its answer is whole; what takes longer fails
    #[arg(short, long, default_value = "10s", value_parser = parse_duration, help_heading = "Generator")]
    pub timeout: Duration,

    /// The most connections to each host; used in turn (default: 100 for `run`, two for each request of a second for
    /// `scale`, so that its load spreads over the pods as that of many users does)
    #[arg(short, long, value_parser = parse_bound, help_heading = "Generator")]
    pub connections: Option<usize>,

    /// The most requests begun and not ended; arrivals beyond it are dropped, and count as failed
    #[arg(long, default_value_t = 10_000, value_parser = parse_bound, help_heading = "Generator")]
    pub max_in_flight: usize,

    /// Replace connections of about this age, so that new pods get their share; keep it below the server's own
    /// limit; 0 keeps them for good
    // 6 s with this side's jitter of 20 % is less than the services' 10 s with theirs.
    #[arg(long, default_value = "6s", value_name = "DURATION", value_parser = parse_limit, help_heading = "Generator")]
    pub max_connection_age: Limit,

    /// Close connections that were idle for this long; keep it below the server's own limit
    #[arg(long, default_value = "4s", value_name = "DURATION", value_parser = parse_duration, help_heading = "Generator")]
    pub max_idle: Duration,

    /// The most that the generator's own lag may be at the 99th percentile, or the run is invalid (default: 20ms for
    /// `run`, where latency is the result; 250ms for `scale`, where it is the rate)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Generator")]
    pub max_lag: Option<Duration>,

    /// Generator threads (default: one for each 10,000 requests/s, up to the number of cores)
    #[arg(long, value_parser = parse_bound, help_heading = "Generator")]
    pub threads: Option<usize>,
}

fn parse_status(text: &str) -> Result<StatusCode, String> {
    text.parse()
        .map_err(|_| "a status is a number from 100 to 999".to_owned())
}

fn parse_bound(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(bound) if (1..=1_000_000).contains(&bound) => Ok(bound),
        _ => Err("write a whole number from 1 to 1000000".to_owned()),
    }
}

impl LoadArguments {
    /// The targets given, or `url` alone.
    ///
    /// # Errors
    /// [`BadConfiguration`] without a usable target.
    pub fn mix(&self, url: Option<&str>) -> anyhow::Result<Mix> {
        let targets = match url {
            Some(url) => vec![Target::new(self.method.clone(), url).map_err(BadConfiguration::new)?],
            None => self.target.clone(),
        };
        Mix::new(targets, &self.header, self.body.as_deref())
            .map_err(|error| BadConfiguration::new(error).into())
    }

    /// A plan to send `mix` by `schedule`.
    #[must_use]
    pub fn plan(&self, mix: Mix, schedule: Schedule) -> Plan {
        Plan {
            schedule,
            mix,
            expectations: Expectations {
                statuses: self.expect_status.clone(),
                bodies: self.expect_body.clone(),
            },
            timeout: self.timeout,
            connections: self.connections.unwrap_or(CONNECTIONS),
            max_in_flight: self.max_in_flight,
            max_connection_age: self.max_connection_age.0,
            max_idle: self.max_idle,
            threads: self.threads,
        }
    }

    /// The bounds that a load of these flags must keep. The bound of the lag is the user's, or else the command's.
    #[must_use]
    pub fn bounds(&self, max_failed: MaxFailed, usual_max_lag: Duration) -> Bounds {
        Bounds {
            max_lag: self.max_lag.unwrap_or(usual_max_lag),
            max_failed,
        }
    }
}

impl RunArguments {
    /// How many requests may fail.
    #[must_use]
    pub fn max_failed(&self) -> MaxFailed {
        let usual = if self.threshold.iter().any(Threshold::is_about_failures) {
            MaxFailed::Share(1.0)
        } else {
            MaxFailed::Count(0)
        };
        self.max_failed.unwrap_or(usual)
    }

    /// What to send.
    ///
    /// # Errors
    /// [`BadConfiguration`] without a usable target, or a schedule.
    pub fn plan(&self) -> anyhow::Result<Plan> {
        let mix = self.load.mix(self.url.as_deref())?;
        Ok(self.load.plan(mix, self.schedule.schedule()?))
    }
}
