//! oha: an open loop as well, with `--latency-correction`, and in Rust on the same HTTP library.

use anyhow::Result;
use serde_json::{Map, Value};

use super::generator::{Generator, Load, Report};
use crate::cargo;

const VERSION: &str = "1.16.0";

/// Installs oha where it is missing.
///
/// # Errors
/// When it cannot be built.
pub(super) fn install() -> Result<Generator> {
    // With its default features: it does not build without some TLS, and rustls needs no library of the machine.
    let program = cargo::install("oha", VERSION, &[])?;
    Ok(Generator {
        name: "oha",
        program,
        arguments,
        read,
    })
}

fn arguments(load: &Load) -> String {
    let Load { rate, seconds, .. } = load;
    // -w: what is in flight at the end is waited for, as loadtest waits, and is no failure.
    format!(
        "-q {rate} --latency-correction -z {seconds}s -w --worker-threads 1 --no-tui --output-format json"
    )
}

fn read(json: &Value, load: &Load) -> Option<Report> {
    let statuses = json["statusCodeDistribution"].as_object()?;
    let errors = json["errorDistribution"].as_object()?;
    let sum = |counts: &Map<String, Value>| counts.values().filter_map(Value::as_u64).sum::<u64>();
    let right = statuses.get("200").and_then(Value::as_u64).unwrap_or(0);
    let percentile_ms = |name: &str| Some(json["latencyPercentiles"][name].as_f64()? * 1000.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a count of requests stays far below 2^52"
    )]
    let achieved = right as f64 / f64::from(load.seconds);
    Some(Report {
        achieved,
        failures: sum(errors) + sum(statuses) - right,
        p50_ms: percentile_ms("p50")?,
        p90_ms: percentile_ms("p90")?,
        p99_ms: percentile_ms("p99")?,
        lag_p99_ms: None,
    })
}
