//! The flags of `loadtest verify`.

use std::{path::PathBuf, str::FromStr, time::Duration};

use clap::{Args, ValueEnum};
use engine::{
    Resolve,
    units::{Rate, Share, parse_duration},
};
use prover::verify::{Canary, DeliveryStage, Test};

use super::{cluster_arguments::ClusterArguments, report_arguments::ReportArguments};

/// A stage of the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StageArgument {
    /// A cluster on this machine: apply, hello-http, jobs-https
    Local,
    /// The cluster for tests: as local, and pods-scale, nodes-scale, response-time
    Dev,
    /// The production cluster: apply, urls, settled, spread
    Prod,
}

impl From<StageArgument> for DeliveryStage {
    fn from(stage: StageArgument) -> Self {
        match stage {
            StageArgument::Local => Self::Local,
            StageArgument::Dev => Self::Dev,
            StageArgument::Prod => Self::Prod,
        }
    }
}

/// Flags of `loadtest verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// Stage whose tests run
    #[arg(long, value_enum, required_unless_present = "list")]
    pub stage: Option<StageArgument>,

    /// Run only this test of the stage (repeatable)
    #[arg(long, value_name = "TEST", value_parser = parse_test)]
    pub only: Vec<Test>,

    /// Print the tests, their stages and their deadlines, and run nothing
    #[arg(long)]
    pub list: bool,

    /// Check the flags, the files that they name, and the token, as before a run, and run nothing
    #[arg(long, conflicts_with = "list")]
    pub dry_run: bool,

    /// Deadline of a test: settled=10m (repeatable; --list shows the defaults)
    #[arg(long, value_name = "TEST=DURATION")]
    pub deadline: Vec<TestDeadline>,

    /// Run the tests of a canary instead of those of the stage, on this pod of the next release of a Deployment (repeatable)
    #[arg(long, value_name = "DEPLOYMENT=POD", value_parser = parse_canary, help_heading = "Canary")]
    pub canary: Vec<Canary>,

    /// Rate of the load of canary-load, beside that of the users: half to /hello, half to /jobs
    #[arg(long, value_name = "RATE", default_value = "40", help_heading = "Canary")]
    pub canary_rate: Rate,

    /// Overlay to apply (default: kubernetes/overlays/STAGE)
    #[arg(long, value_name = "FOLDER", help_heading = "apply")]
    pub overlay: Option<PathBuf>,

    /// Program that applies the overlay; it reads the same kubeconfig (KUBECONFIG, --context)
    #[arg(long, value_name = "FILE", default_value = "kubectl", help_heading = "apply")]
    pub kubectl: PathBuf,

    /// URL of the pair over HTTP, without a path (default: `http://127.0.0.1:30080` for local; otherwise the host of --https)
    #[arg(long, value_name = "URL", help_heading = "Requests")]
    pub http: Option<String>,

    /// URL of the pair over HTTPS, without a path (default for local: `https://127.0.0.1:30443`)
    #[arg(long, value_name = "URL", help_heading = "Requests")]
    pub https: Option<String>,

    /// File with the token for /jobs (default: the environment variable `LOADTEST_TOKEN`); no report contains it
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub token_file: Option<PathBuf>,

    /// Request of the test urls, its status, and a text that the body must contain: `GET https://host/hello 200 Hello there`;
    /// begin with `token` to send the token: `token PUT https://host/jobs 200 Jobs:` (repeatable; replaces the default list)
    #[arg(long, value_name = "METHOD URL STATUS [TEXT]", help_heading = "Requests")]
    pub check: Vec<String>,

    /// PEM file with the certificate authorities to trust (default: those of this machine)
    #[arg(long, value_name = "FILE", help_heading = "Requests")]
    pub cacert: Option<PathBuf>,

    /// Accept any server certificate: for the self-signed certificates that the pods of overlays/local make. Nothing then shows
    /// that the server is the pair. Every report says so
    #[arg(short = 'k', long, conflicts_with = "cacert", help_heading = "Requests")]
    pub insecure: bool,

    /// TLS server name to request and to verify (default: the host of the URL)
    #[arg(long, value_name = "NAME", help_heading = "Requests")]
    pub sni: Option<String>,

    /// Use this address for a host and port instead of DNS: shop.example:443:127.0.0.1 (repeatable)
    #[arg(long, value_name = "HOST:PORT:ADDRESS", help_heading = "Requests")]
    pub resolve: Vec<Resolve>,

    /// URL that gets the load of pods-scale, nodes-scale, response-time and settled (default: /hello of --https); canary-load sends to
    /// the same host
    #[arg(long, value_name = "URL", help_heading = "Load")]
    pub load_url: Option<String>,

    /// HPA that receives the load of the proof
    #[arg(long, value_name = "NAME", default_value = "app-a", help_heading = "Load")]
    pub hpa: String,

    /// Replicas that the load of the proof needs
    #[arg(short, long, value_name = "NUMBER", default_value = "8", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Load")]
    pub replicas: u16,

    /// How long the replica count must stay constant; at least 1.4 times --metric-covers
    #[arg(long, value_name = "DURATION", default_value = "2m", value_parser = parse_duration, help_heading = "Load")]
    pub plateau: Duration,

    /// Zones that the new nodes must be in, as in `loadtest scale`
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Load")]
    pub zones: Option<u16>,

    /// Largest average response time at scale, and of a canary that is asked directly
    #[arg(long, value_name = "DURATION", default_value = "200ms", value_parser = parse_duration, help_heading = "Load")]
    pub objective: Duration,

    /// How much more than the service the load tool may measure: the network, the load balancer, and the opening of connections,
    /// which the service does not see
    #[arg(long, value_name = "DURATION", default_value = "50ms", value_parser = parse_duration, help_heading = "Load")]
    pub max_difference: Duration,

    /// Time that a value of `http_request_duration_seconds_average` covers: the window of the adapter's rule, and a scrape interval
    #[arg(long, value_name = "DURATION", default_value = "75s", value_parser = parse_duration, help_heading = "Load")]
    pub metric_covers: Duration,

    /// Write the JSON report of the proof to this file, as `loadtest scale --json`
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub scale_json: Option<PathBuf>,

    /// Write the HTML report of the proof to this file, as `loadtest scale --html`
    #[arg(long, value_name = "FILE", help_heading = "Load")]
    pub scale_html: Option<PathBuf>,

    /// Length of the windows that the test settled compares, and shortest time of canary-load; at least 20s
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration, help_heading = "settled")]
    pub window: Duration,

    /// Largest shift between two windows, relative to the median of the first; in canary-load from the stable pods to the canary
    #[arg(long, value_name = "PERCENT", default_value = "25%", help_heading = "settled")]
    pub tolerance: Share,

    /// Rate of the small load that measures the response time
    #[arg(long, value_name = "RATE", default_value = "10", help_heading = "settled")]
    pub probe_rate: Rate,

    /// Largest difference in ready pods between two zones of a region
    #[arg(long, value_name = "NUMBER", default_value = "1", help_heading = "spread")]
    pub max_skew: u16,

    /// Smallest number of zones with a ready pod, in each region
    #[arg(long, value_name = "NUMBER", default_value = "2", value_parser = clap::value_parser!(u16).range(1..), help_heading = "spread")]
    pub min_zones: u16,

    /// Kubeconfig context of the cluster in another region (repeatable)
    #[arg(long, value_name = "NAME", help_heading = "spread")]
    pub region_context: Vec<String>,

    /// Largest difference in ready pods between two regions (default: any, but each region needs a ready pod)
    #[arg(long, value_name = "NUMBER", help_heading = "spread")]
    pub max_region_skew: Option<u16>,

    /// Write a JSON report to this file
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub json: Option<PathBuf>,

    /// Write an HTML report to this file
    #[arg(long, value_name = "FILE", help_heading = "Reports")]
    pub html: Option<PathBuf>,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub reports: ReportArguments,

    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would use a doc comment as the command's help")]
    pub cluster: ClusterArguments,
}

/// The deadline of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestDeadline {
    /// The test.
    pub test: Test,
    /// The time after which it fails.
    pub deadline: Duration,
}

impl FromStr for TestDeadline {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, deadline) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` is not a test and its deadline; write settled=10m"))?;
        Ok(Self {
            test: parse_test(name)?,
            deadline: parse_duration(deadline)?,
        })
    }
}

fn parse_test(text: &str) -> Result<Test, String> {
    let mut tests = Test::ALL.into_iter().chain(Test::CANARY);
    tests.clone().find(|test| test.name() == text).ok_or_else(|| {
        let first = tests.next().map_or("", Test::name).to_owned();
        let names = tests.fold(first, |names, test| format!("{names}, {test}"));
        format!("`{text}` is not a test; the tests are {names}")
    })
}

fn parse_canary(text: &str) -> Result<Canary, String> {
    let (deployment, pod) = text
        .split_once('=')
        .filter(|(deployment, pod)| !deployment.is_empty() && !pod.is_empty())
        .ok_or_else(|| format!("`{text}` is not a Deployment and a pod; write app-a=app-a-canary-x7k2p"))?;
    Ok(Canary {
        deployment: deployment.to_owned(),
        pod: pod.to_owned(),
    })
}
