//! Compares the percentiles that the generators report for a server with known latencies.

use anyhow::{Result, ensure};

use super::generator::{Generator, Load, Report};
use super::program::Server;

/// The largest accepted relative difference between a percentile of loadtest and of oha.
const TOLERANCE: f64 = 0.05;

/// A moderate rate: only the delays of the server take time.
const RATE: u32 = 400;

const SECONDS: u32 = 10;

/// Measures, prints the results, and adds broken bounds to `broken`. Compares the first generator with the second.
///
/// # Errors
/// When a generator does not run, or a request fails.
pub(super) fn run(generators: &[Generator; 2], server: &Server, broken: &mut Vec<String>) -> Result<()> {
    let load = Load {
        url: format!("http://{}/hello", server.address),
        rate: RATE,
        seconds: SECONDS,
    };
    println!(
        "\nlatency in ms of a server that takes 20 ms, and 80 ms for every fifth request, at {RATE}/s for {SECONDS} s"
    );
    println!("  percentile  loadtest       oha   ratio");
    let [ours, theirs] = [&generators[0], &generators[1]].map(|generator| measure(generator, &load));
    let (ours, theirs) = (ours?, theirs?);
    for (name, ours, theirs) in [
        ("p50", ours.p50_ms, theirs.p50_ms),
        ("p90", ours.p90_ms, theirs.p90_ms),
        ("p99", ours.p99_ms, theirs.p99_ms),
    ] {
        let ratio = ours / theirs;
        println!("  {name:>10}  {ours:>8.2}  {theirs:>8.2}  {ratio:>6.3}");
        if (ratio - 1.0).abs() > TOLERANCE {
            broken.push(format!(
                "{name} is {ours:.2} ms in loadtest and {theirs:.2} ms in oha, more than {:.0} % apart",
                TOLERANCE * 100.0
            ));
        }
    }
    Ok(())
}

fn measure(generator: &Generator, load: &Load) -> Result<Report> {
    let report = generator.run(load)?;
    ensure!(
        report.failures == 0,
        "{} requests of {} failed",
        report.failures,
        generator.name
    );
    Ok(report)
}
