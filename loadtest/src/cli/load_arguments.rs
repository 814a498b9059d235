//! The flags of a load and their conversion to a plan.

use std::{fs, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use engine::{
    BadConfiguration, ClientCertificate, Expectations, Mix, Network, Plan, Protocol, Resolve, Schedule,
    ServerName, Target, Tls, parse_header, parse_method,
    units::{Limit, parse_duration, parse_duration_or_zero, parse_limit},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

/// The number of connections without `--connections`, except for `scale`.
const CONNECTIONS: usize = 100;

/// Flags of every command that sends load.
#[derive(Debug, Args)]
pub struct LoadArguments {
    /// One of several targets with its weight: `3 GET http://host/hello` (repeatable)
    #[arg(long, value_name = "WEIGHT METHOD URL", help_heading = "Requests")]
    pub target: Vec<Target>,

    /// Request method for the URL
    #[arg(short, long, default_value = "GET", value_parser = parse_method, conflicts_with = "target", help_heading = "Requests")]
    pub method: Method,

    /// Header of every request: 'Authorization: mytoken' (repeatable)
    #[arg(short = 'H', long, value_name = "NAME: VALUE", value_parser = parse_header, help_heading = "Requests")]
    pub header: Vec<(HeaderName, HeaderValue)>,

    /// Body of every request
    #[arg(
        short = 'd',
        long,
        value_name = "TEXT",
        group = "body_source",
        help_heading = "Requests"
    )]
    pub body: Option<String>,

    /// File with the body of every request
    #[arg(
        short = 'D',
        long,
        value_name = "FILE",
        group = "body_source",
        help_heading = "Requests"
    )]
    pub body_file: Option<PathBuf>,

    /// Form field in the body of every request: token=mytoken (repeatable; sets the content type)
    #[arg(short = 'F', long, value_name = "NAME=VALUE", value_parser = parse_field, group = "body_source", help_heading = "Requests")]
    pub form: Vec<(String, String)>,

    /// Status that counts as success (repeatable; default: any 2xx; redirects are not followed)
    #[arg(long, value_name = "STATUS", value_parser = parse_status, help_heading = "Requests")]
    pub expect_status: Vec<StatusCode>,

    /// Text that the response body must contain (repeatable; one match is enough)
    #[arg(long, value_name = "TEXT", help_heading = "Requests")]
    pub expect_body: Vec<String>,

    /// Time limit from the moment a request is due until its response is complete; slower requests fail
    #[arg(short, long, default_value = "10s", value_parser = parse_duration, help_heading = "Generator")]
    pub timeout: Duration,

    /// Maximum number of connections per host, used round-robin (default: 100; for `scale`, 2 per request/s up to 1000,
    /// so that the load spreads over the pods like the load of many users)
    #[arg(short, long, value_parser = parse_positive, help_heading = "Generator")]
    pub connections: Option<usize>,

    /// Maximum number of requests in flight; arrivals above it are dropped and count as failed
    #[arg(long, default_value_t = 10_000, value_parser = parse_positive, help_heading = "Generator")]
    pub max_in_flight: usize,

    /// Replace connections at about this age, so that new pods receive load; keep it below the server's own limit; 0
    /// disables the replacement
    // 6 s plus 20 % jitter here is below 10 s minus 20 % jitter in the services.
    #[arg(long, default_value = "6s", value_name = "DURATION", value_parser = parse_limit, help_heading = "Generator")]
    pub max_connection_age: Limit,

    /// Use HTTP/2: negotiated in TLS, assumed without TLS (default: HTTP/1.1)
    #[arg(long, help_heading = "Network")]
    pub http2: bool,

    /// Maximum number of concurrent requests per HTTP/2 connection
    #[arg(short = 'p', long, value_name = "NUMBER", default_value_t = 100, value_parser = parse_positive, requires = "http2", help_heading = "Network")]
    pub streams: usize,

    /// Open a new connection for each request
    #[arg(long, conflicts_with = "http2", help_heading = "Network")]
    pub no_keep_alive: bool,

    /// Use this address for a host and port instead of DNS: shop.example:443:127.0.0.1 (repeatable)
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "Network")]
    pub resolve: Vec<Resolve>,

    /// Resolve a name again when a connection is opened and the last DNS answer is older than this; 0 resolves it for
    /// every connection (default: once, before the load)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration_or_zero, help_heading = "Network")]
    pub dns_ttl: Option<Duration>,

    /// PEM file with the certificate authorities to trust (default: those of this machine)
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub cacert: Option<PathBuf>,

    /// PEM file with the certificate that the client presents, followed by its intermediate certificates
    #[arg(long, value_name = "FILE", requires = "key", help_heading = "Network")]
    pub cert: Option<PathBuf>,

    /// PEM file with the private key of --cert, not encrypted
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Network")]
    pub key: Option<PathBuf>,

    /// TLS server name to request and to verify (default: the host of the URL)
    #[arg(long, value_name = "NAME", value_parser = parse_server_name, help_heading = "Network")]
    pub sni: Option<ServerName<'static>>,

    /// Accept any server certificate; the JSON report shows that certificates were not verified
    #[arg(short = 'k', long, conflicts_with = "cacert", help_heading = "Network")]
    pub insecure: bool,

    /// Close connections after this idle time; keep it below the server's own limit
    #[arg(long, default_value = "4s", value_name = "DURATION", value_parser = parse_duration, help_heading = "Generator")]
    pub max_idle: Duration,

    /// Upper bound of the generator's lag at the 99th percentile; above it the run is invalid (default: 20ms; for `scale`
    /// 250ms, because scaling depends on the rate and not on the latency)
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Generator")]
    pub max_lag: Option<Duration>,

    /// Number of slowest requests in the report, each with its time, the parts of its latency and its server; up to
    /// 1000
    #[arg(long, value_name = "NUMBER", default_value_t = 10, value_parser = clap::value_parser!(u16).range(0..=1000), help_heading = "Reports")]
    pub slowest: u16,

    /// Number of generator threads (default: one per 10,000 requests/s, up to the number of cores; 1 per stripe)
    #[arg(long, value_parser = parse_positive, help_heading = "Generator")]
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

fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (1..=1_000_000).contains(&number) => Ok(number),
        _ => Err("write a whole number from 1 to 1000000".to_owned()),
    }
}

impl LoadArguments {
    /// Returns the targets with headers and body: `url` if present, otherwise every `--target`.
    ///
    /// # Errors
    /// [`BadConfiguration`] without a valid target, or when the body file cannot be read.
    pub fn mix(&self, url: Option<&str>) -> anyhow::Result<Mix> {
        let targets = match url {
            Some(url) => vec![Target::new(self.method.clone(), url).map_err(BadConfiguration::new)?],
            None => self.target.clone(),
        };
        let mut headers = self.header.clone();
        let mut add_default = |name: HeaderName, value| {
            if !self.header.iter().any(|(given, _)| *given == name) {
                headers.push((name, HeaderValue::from_static(value)));
            }
        };
        if !self.form.is_empty() {
            add_default(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        }
        if self.no_keep_alive {
            add_default(header::CONNECTION, "close");
        }
        Mix::new(targets, &headers, &self.body()?, self.protocol())
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

    /// Returns the body of each request; empty without a body flag.
    fn body(&self) -> anyhow::Result<Bytes> {
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

    /// Returns the network settings for the hosts of `mix`.
    ///
    /// # Errors
    /// [`BadConfiguration`] when a target needs TLS and there is no certificate authority to trust, or when the client
    /// certificate cannot be used.
    pub fn network(&self, mix: &Mix) -> anyhow::Result<Network> {
        let name = self.sni.clone();
        let client = self.cert.as_deref().zip(self.key.as_deref());
        if client.is_some() && !mix.needs_tls() {
            return Err(BadConfiguration::new("--cert needs a URL with https://").into());
        }
        let client = client.map(|(certificate, key)| ClientCertificate::read(certificate, key));
        let client = client.transpose().map_err(BadConfiguration::new)?;
        let tls = match (mix.needs_tls(), self.insecure) {
            (false, _) => Ok(None),
            (true, false) => Tls::verifying(self.cacert.as_deref(), client, name, mix.protocol()).map(Some),
            (true, true) => Tls::insecure(client, name, mix.protocol()).map(Some),
        };
        Ok(Network {
            resolve: self.resolve.clone(),
            dns_ttl: self.dns_ttl,
            tls: tls.map_err(BadConfiguration::new)?,
        })
    }

    /// Returns the plan to send `mix` on `schedule`, without a warm-up.
    #[must_use]
    pub fn plan(&self, mix: Mix, network: Network, schedule: Schedule) -> Plan {
        Plan {
            schedule,
            warm_up: Duration::ZERO,
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
            slowest: usize::from(self.slowest),
            threads: self.threads,
        }
    }
}
