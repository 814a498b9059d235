//! oha: an open-loop generator with `--latency-correction`, in Rust and on the same HTTP library as loadtest.

use anyhow::Result;
use serde_json::{Map, Value};

use super::generator::{Generator, Load, Report};
use crate::cargo::Tool;

/// With its default features: oha does not build without TLS, and rustls needs no system library.
const OHA: Tool = Tool {
    name: "oha",
    version: "1.16.0",
    features: &[],
    optimised: true,
};

/// Installs oha if it is missing.
///
/// # Errors
/// When oha cannot be built.
pub(super) fn install() -> Result<Generator> {
    let program = OHA.install()?;
    Ok(Generator {
        name: "oha",
        program,
        arguments,
        read,
    })
}

fn arguments(load: &Load) -> String {
    let Load { rate, seconds, .. } = load;
    // -w: wait for the requests in flight at the end, as loadtest does, instead of counting them as failures.
    format!(
        "-q {rate} --latency-correction -z {seconds}s -w --worker-threads 1 --no-tui --output-format json"
    )
}

fn read(json: &Value, load: &Load) -> Option<Report> {
    let statuses = json["statusCodeDistribution"].as_object()?;
    let errors = json["errorDistribution"].as_object()?;
    let sum = |counts: &Map<String, Value>| counts.values().filter_map(Value::as_u64).sum::<u64>();
    let succeeded = statuses.get("200").and_then(Value::as_u64).unwrap_or(0);
    let percentile_ms = |name: &str| Some(json["latencyPercentiles"][name].as_f64()? * 1000.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of requests stays far below 2^52"
    )]
    let achieved = succeeded as f64 / f64::from(load.seconds);
    Some(Report {
        achieved,
        failures: sum(errors) + sum(statuses) - succeeded,
        p50_ms: percentile_ms("p50")?,
        p90_ms: percentile_ms("p90")?,
        p99_ms: percentile_ms("p99")?,
        lag_p99_ms: None,
    })
}
