//! The small loads of `loadtest verify`: that of the test `settled`, and that of `canary-load`.

use std::time::Duration;

use bytes::Bytes;
use engine::{
    BadConfiguration, Expectations, Mix, Network, Plan, Protocol, Schedule, Segment, Spacing, Target,
    units::Rate,
};
use http::{HeaderName, HeaderValue, Method, header};
use prover::verify::Token;

use super::verify_arguments::VerifyArguments;

/// The time limit of a request.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time added to the schedule of a load, so that it does not end before the test stops it.
const SCHEDULE_MARGIN: Duration = Duration::from_mins(1);

/// Returns the load of the test `settled`, which lasts longer than its deadline.
pub(super) fn settled_plan(
    arguments: &VerifyArguments,
    url: &str,
    network: &Network,
    deadline: Duration,
) -> anyhow::Result<Plan> {
    let target = Target::new(Method::GET, url).map_err(BadConfiguration::new)?;
    plan(vec![target], &[], arguments.probe_rate, network, deadline)
}

/// Returns the load of the test `canary-load`, which lasts longer than its deadline: `/hello` and `/jobs`, so that both services get
/// requests.
pub(super) fn canary_plan(
    arguments: &VerifyArguments,
    url: &str,
    network: &Network,
    token: Option<&Token>,
    deadline: Duration,
) -> anyhow::Result<Plan> {
    let given = Target::new(Method::GET, url).map_err(BadConfiguration::new)?;
    let mut targets = Vec::new();
    for (method, path) in [(Method::GET, "/hello"), (Method::PUT, "/jobs")] {
        let (scheme, authority) = (given.url.scheme_str(), given.url.authority());
        let base = scheme
            .zip(authority)
            .map(|(scheme, authority)| format!("{scheme}://{authority}{path}"));
        targets.push(Target::new(method, &base.unwrap_or_default()).map_err(BadConfiguration::new)?);
    }
    let headers: Vec<_> = token
        .map(|token| (header::AUTHORIZATION, token.header()))
        .into_iter()
        .collect();
    plan(targets, &headers, arguments.canary_rate, network, deadline)
}

fn plan(
    targets: Vec<Target>,
    headers: &[(HeaderName, HeaderValue)],
    rate: Rate,
    network: &Network,
    deadline: Duration,
) -> anyhow::Result<Plan> {
    let mix = Mix::new(targets, headers, &Bytes::new(), Protocol::Http1).map_err(BadConfiguration::new)?;
    let rate = rate.as_per_second();
    let segment = Segment::constant(deadline + SCHEDULE_MARGIN, rate);
    Ok(Plan {
        schedule: Schedule::from_segments(&[segment], Spacing::Even),
        warm_up: Duration::ZERO,
        mix,
        network: network.clone(),
        expectations: Expectations::default(),
        timeout: PROBE_TIMEOUT,
        // One for each request of a second, so that a slow response delays no other.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive rate; an absurd one is cut off"
        )]
        connections: (rate.ceil() as usize).clamp(1, 1000),
        max_in_flight: 10_000,
        // As for every other load: below the limits of the services.
        max_connection_age: Some(Duration::from_secs(6)),
        max_idle: Duration::from_secs(4),
        slowest: 0,
        threads: Some(1),
    })
}
