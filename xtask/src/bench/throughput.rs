//! Throughput of the services against bare peers in the same run.

use anyhow::Result;
use testbed::progress;

use super::program::Server;
use super::shared::median;
use super::wrk::{self, Request};

/// The lowest accepted throughput of a service, relative to its bare peer.
const MIN_RATIO: f64 = 0.9;

const SECONDS_PER_RUN: u32 = 1;

/// The threads of wrk.
const THREADS: u32 = 2;

/// Measures both servers in `rounds` rounds, prints the results, and adds a broken bound to `broken`.
///
/// # Errors
/// When wrk does not run, or a request fails.
pub(super) fn compare(
    request: &Request,
    [ours, theirs]: [(&str, &Server); 2],
    rounds: usize,
    broken: &mut Vec<String>,
) -> Result<()> {
    println!(
        "\n{}, requests per second, wrk with {THREADS} threads and {} connections, {SECONDS_PER_RUN} s each",
        request.path,
        wrk::CONNECTIONS
    );
    println!("  round  {:>9}  {:>9}   ratio", ours.0, theirs.0);
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        // The second server of a round runs on a warmer machine, so the order alternates.
        let (our_rate, their_rate) = if round % 2 == 0 {
            let their_rate = load(request, theirs.1)?;
            (load(request, ours.1)?, their_rate)
        } else {
            (load(request, ours.1)?, load(request, theirs.1)?)
        };
        let ratio = our_rate / their_rate;
        println!("  {round:>5}  {our_rate:>9.0}  {their_rate:>9.0}  {ratio:>6.3}");
        ratios.push(ratio);
    }
    let ratio = median(&mut ratios);
    println!("  median ratio {ratio:.3}, at least {MIN_RATIO}");
    if ratio < MIN_RATIO {
        broken.push(format!(
            "{} of {} reaches {ratio:.3} of {}, less than {MIN_RATIO}",
            request.path, ours.0, theirs.0
        ));
    }
    Ok(())
}

/// Returns the requests per second of one run.
fn load(request: &Request, server: &Server) -> Result<f64> {
    let wrk = progress::bound_to_this_process(wrk::PROGRAM);
    wrk::requests_per_second(wrk, THREADS, SECONDS_PER_RUN, &server.address, request)
}
