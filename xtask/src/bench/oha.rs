//! oha: an open loop as well, with `--latency-correction`, and in Rust on the same HTTP library.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;
use testbed::{paths, progress};

use super::generator::{Generator, Load, Report};

const VERSION: &str = "1.16.0";

/// Installs oha where it is missing.
///
/// # Errors
/// When it cannot be built.
pub(super) fn install() -> Result<Generator> {
    let folder = paths::target().join("tools");
    let program: PathBuf = folder.join("bin/oha");
    let present = Command::new(&program).arg("--version").output();
    if !present.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION)) {
        progress::step("install oha (once)", || {
            let mut command = progress::bound_to_this_process("cargo");
            command
                // With its default features: it does not build without some TLS, and rustls needs no library of the machine.
                .args(["install", "--quiet", "--locked", "oha"])
                .args(["--version", VERSION])
                .arg("--root")
                .arg(&folder)
                .arg("--target-dir")
                .arg(folder.join("build"));
            progress::run(&mut command)
        })?;
    }
    Ok(Generator {
        name: "oha",
        program,
        arguments,
        read,
    })
}

fn arguments(load: &Load) -> Vec<String> {
    let Load { rate, seconds, .. } = load;
    // -w: what is in flight at the end is waited for, as loadtest waits, and is no failure.
    format!(
        "-q {rate} --latency-correction -z {seconds}s -w --worker-threads 1 --no-tui --output-format json"
    )
    .split(' ')
    .map(str::to_owned)
    .collect()
}

fn read(json: &Value, load: &Load) -> Option<Report> {
    let statuses = json["statusCodeDistribution"].as_object()?;
    let errors = json["errorDistribution"].as_object()?;
    let sum =
        |counts: &serde_json::Map<String, Value>| counts.values().filter_map(Value::as_u64).sum::<u64>();
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
