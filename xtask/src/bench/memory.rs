//! `cargo xtask bench memory`: memory growth of the load generator over one long run.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use super::generator::{self, Generator, Load};
use super::program::pause;

/// The largest accepted memory of any sample, relative to the first. A generator that keeps every latency would grow by
/// about 100 kB per second at this rate. One that keeps histograms grows by one compressed histogram per second.
const MAX_GROWTH: f64 = 1.1;

/// The time before the first sample, so that the generator is warm, and the time between two samples.
const INTERVAL_SECONDS: u32 = 10;

const RATE: u32 = 2_000;

/// The extent of the measurement.
#[derive(Args, Clone, Copy)]
pub(crate) struct Options {
    /// Duration of the run in minutes
    #[arg(long, default_value_t = Options::default().minutes, value_parser = clap::value_parser!(u32).range(1..=60))]
    minutes: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { minutes: 10 }
    }
}

/// Measures, prints the results, and adds broken bounds to `broken`.
///
/// # Errors
/// When a program does not run, or a request fails.
pub(super) fn run(options: Options, broken: &mut Vec<String>) -> Result<()> {
    let loadtest = Generator::loadtest()?;
    let server = generator::serve(&generator::build_server()?, &[])?;
    let measured = options.minutes * 60;
    let load = Load {
        url: format!("http://{}/hello", server.address),
        rate: RATE,
        // Long enough that the generator is running at the last sample.
        seconds: measured + INTERVAL_SECONDS / 2,
    };
    println!("\nmemory of loadtest over {} min at {RATE}/s", options.minutes);
    let run = loadtest.start(&load)?;
    let start = Instant::now();
    let mut megabytes = Vec::new();
    for seconds in (INTERVAL_SECONDS..=measured).step_by(INTERVAL_SECONDS as usize) {
        let due = start + Duration::from_secs(seconds.into());
        pause(due.saturating_duration_since(Instant::now()));
        megabytes.push(run.process.resident_megabytes()?);
        if seconds == INTERVAL_SECONDS || seconds.is_multiple_of(60) {
            println!("  {seconds:>5} s  {:>6.2} MB", megabytes[megabytes.len() - 1]);
        }
    }
    let report = run.report()?;
    ensure!(report.failures == 0, "{} requests failed", report.failures);
    let most = megabytes.iter().copied().fold(0.0, f64::max);
    let growth = most / megabytes[0];
    println!("  largest sample: {growth:.3} of the sample at {INTERVAL_SECONDS} s, at most {MAX_GROWTH}");
    if growth > MAX_GROWTH {
        broken.push(format!(
            "the memory of loadtest grows to {growth:.3} of its size at {INTERVAL_SECONDS} s, more than {MAX_GROWTH}"
        ));
    }
    Ok(())
}
