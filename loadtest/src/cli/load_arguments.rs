//! The flags of a load, and how they become a plan.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use engine::{
    BadConfiguration, Expectations, Mix, Network, Plan, Protocol, Resolve, Schedule, ServerName, Target, Tls,
    parse_header, parse_method,
    units::{Limit, parse_duration, parse_duration_or_zero, parse_limit},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

/// Connections, where the user says nothing and the command neither.
const CONNECTIONS: usize = 100;

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
    #[arg(
        short = 'd',
        long,
        value_name = "TEXT",
        group = "content",
        help_heading = "Requests"
    )]
    pub body: Option<String>,

    /// The body of every request, as this file has it
    #[arg(
        short = 'D',
        long,
        value_name = "FILE",
        group = "content",
        help_heading = "Requests"
    )]
    pub body_file: Option<PathBuf>,

    /// A field of a form that is the body of every request: token=mytoken (repeat for more; sets the content type)
    #[arg(short = 'F', long, value_name = "NAME=VALUE", value_parser = parse_field, group = "content", help_heading = "Requests")]
    pub form: Vec<(String, String)>,

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

    /// Speak HTTP/2: agreed on by TLS, taken for granted without (default: HTTP/1.1)
    #[arg(long, help_heading = "Network")]
    pub http2: bool,

    /// The most requests at a time on a connection of HTTP/2
    #[arg(short = 'p', long, value_name = "NUMBER", default_value_t = 100, value_parser = parse_bound, requires = "http2", help_heading = "Network")]
    pub streams: usize,

    /// A connection for each request
    #[arg(long, conflicts_with = "http2", help_heading = "Network")]
    pub no_keep_alive: bool,

    /// Reach a host and port at this address in place of what DNS says: shop.example:443:127.0.0.1 (repeat for more)
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "Network")]
    pub resolve: Vec<Resolve>,

    /// Look names up again when a connection is opened and the last answer is older than this; 0 does so for every
    /// connection (default: once, before the load)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_or_zero, help_heading = "Network")]
    pub dns_ttl: Option<Duration>,

    /// Trust certificates of the authorities in this file, in PEM format (default: those that this machine trusts)
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub cacert: Option<PathBuf>,

    /// The server's name for TLS, to ask for and to verify (default: that of the URL)
    #[arg(long, value_name = "NAME", value_parser = parse_server_name, help_heading = "Network")]
    pub sni: Option<ServerName<'static>>,

    /// Take any certificate; every report says so
    #[arg(short = 'k', long, conflicts_with = "cacert", help_heading = "Network")]
    pub insecure: bool,

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

fn parse_field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| "write NAME=VALUE".to_owned())?;
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_server_name(text: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(text.to_owned()).map_err(|_| "write a host name or an IP address".to_owned())
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
    /// [`BadConfiguration`] without a usable target, or with a body that cannot be read.
    pub fn mix(&self, url: Option<&str>) -> anyhow::Result<Mix> {
        let targets = match url {
            Some(url) => vec![Target::new(self.method.clone(), url).map_err(BadConfiguration::new)?],
            None => self.target.clone(),
        };
        let mut headers = self.header.clone();
        let mut add = |name: HeaderName, value| {
            if !self.header.iter().any(|(given, _)| *given == name) {
                headers.push((name, HeaderValue::from_static(value)));
            }
        };
        if !self.form.is_empty() {
            add(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if self.no_keep_alive {
            add(header::CONNECTION, "close");
        }
        Mix::new(targets, &headers, &self.content()?, self.protocol())
            .map_err(|error| BadConfiguration::new(error).into())
    }

    fn protocol(&self) -> Protocol {
        if self.http2 {
            Protocol::Http2 {
                streams: self.streams,
            }
        } else {
            Protocol::Http1
        }
    }

    /// What each request carries.
    fn content(&self) -> anyhow::Result<Bytes> {
        if let Some(path) = &self.body_file {
            let content = fs::read(path)
                .map_err(|error| BadConfiguration::new(format!("{}: {error}", path.display())))?;
            return Ok(content.into());
        }
        if let Some(text) = &self.body {
            return Ok(Bytes::copy_from_slice(text.as_bytes()));
        }
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.form)
            .finish();
        Ok(form.into())
    }

    /// How the hosts of `mix` are reached.
    ///
    /// # Errors
    /// [`BadConfiguration`] when TLS is needed, and has no authority to trust.
    pub fn network(&self, mix: &Mix) -> anyhow::Result<Network> {
        let name = self.sni.clone();
        let tls = match (mix.needs_tls(), self.insecure) {
            (false, _) => Ok(None),
            (true, false) => Tls::verifying(self.cacert.as_deref(), name, mix.protocol()).map(Some),
            (true, true) => Tls::insecure(name, mix.protocol()).map(Some),
        };
        Ok(Network {
            resolve: self.resolve.clone(),
            dns_ttl: self.dns_ttl,
            tls: tls.map_err(BadConfiguration::new)?,
        })
    }

    /// A plan to send `mix` by `schedule`.
    #[must_use]
    pub fn plan(&self, mix: Mix, network: Network, schedule: Schedule) -> Plan {
        Plan {
            schedule,
            mix,
            network,
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
}
