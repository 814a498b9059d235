//! `cargo xtask bench`: the benchmarks. Each compares with a peer in the same run, or with a bound.

mod accuracy;
mod generator;
mod instructions;
mod loadtest;
mod memory;
mod oha;
mod program;
mod services;
mod shared;
mod startup;
mod throughput;
mod wrk;

use std::process::ExitCode;

use anyhow::Result;
use clap::Subcommand;

/// A benchmark.
#[derive(Clone, Copy, Subcommand)]
pub(crate) enum Benchmark {
    /// The services: throughput of /hello and /jobs against bare peers, time to start, instructions per request, idle memory,
    /// image sizes
    Services(services::Options),
    /// The load generator against oha and wrk: the highest open-loop rate on one core, CPU time per request, accuracy of the
    /// percentiles. Needs two cores without other load
    Loadtest(loadtest::Options),
    /// Memory growth of the load generator over one long run
    Memory(memory::Options),
}

/// Runs one benchmark, or all of them, and prints the results. Fails if a bound is broken.
///
/// # Errors
/// When a program cannot be installed, built or run.
pub(crate) fn run(benchmark: Option<Benchmark>) -> Result<ExitCode> {
    let all = [
        Benchmark::Services(services::Options::default()),
        Benchmark::Loadtest(loadtest::Options::default()),
        Benchmark::Memory(memory::Options::default()),
    ];
    let mut broken = Vec::new();
    let wanted = benchmark.map_or(all.to_vec(), |one| vec![one]);
    let measured = wanted.into_iter().try_for_each(|benchmark| match benchmark {
        Benchmark::Services(options) => services::run(options, &mut broken),
        Benchmark::Loadtest(options) => loadtest::run(options, &mut broken),
        Benchmark::Memory(options) => memory::run(options, &mut broken),
    });
    for bound in &broken {
        eprintln!("broken bound: {bound}");
    }
    // Only now, so that the broken bounds are printed even if there is an error.
    measured?;
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
