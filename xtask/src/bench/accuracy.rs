//! Whether the generators agree on the percentiles of a server whose latencies are known.

use anyhow::{Result, ensure};

use super::generator::{Generator, Load, Report};
use super::program::Server;

/// How far a percentile of ours may be from oha's.
const TOLERANCE: f64 = 0.05;

/// Moderate: the server's delays are all that takes time.
const RATE: u32 = 400;

const SECONDS: u32 = 10;

/// Measures and prints, and adds the bounds that are broken. The first of the generators is held against the second.
///
/// # Errors
/// When one does not run, or a request fails.
pub(super) fn run(generators: &[Generator; 2], server: &Server, broken: &mut Vec<String>) -> Result<()> {
    let load = Load {
        url: format!("http://{}/hello", server.address),
        rate: RATE,
        seconds: SECONDS,
    };
    println!(
        "\nlatency of a server that takes 20 ms, and 80 ms for every fifth request, at {RATE}/s for {SECONDS} s, in ms"
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
                "{name} is {ours:.2} ms as loadtest has it and {theirs:.2} ms as oha has it, at most {:.0} % apart",
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
        "{} of {}'s requests failed",
        report.failures,
        generator.name
    );
    Ok(report)
}
