//! `cargo xtask bench`: the benchmarks, each beside a peer in the same run, or against a bound.

mod accuracy;
mod generator;
mod loadtest;
mod memory;
mod oha;
mod program;
mod search;
mod services;
mod wrk;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Subcommand;
use testbed::paths;

/// A benchmark.
#[derive(Clone, Copy, Subcommand)]
pub(crate) enum Benchmark {
    /// /hello against a bare axum in the same run, the images' sizes, memory at rest
    Services,
    /// The load generator beside oha and wrk: the rate that one core holds open loop, CPU for each request, and whether the
    /// percentiles agree. Wants two cores that nobody else uses
    Loadtest(loadtest::Options),
    /// The load generator's memory over one long run
    Memory(memory::Options),
}

/// Measures, prints, and fails where a bound is broken. Without a `benchmark` all of them.
///
/// # Errors
/// When a program cannot be had, or does not run.
pub(crate) fn run(benchmark: Option<Benchmark>) -> Result<ExitCode> {
    let all = [
        Benchmark::Services,
        Benchmark::Loadtest(loadtest::Options::default()),
        Benchmark::Memory(memory::Options::default()),
    ];
    let mut broken = Vec::new();
    let wanted = benchmark.map_or(all.to_vec(), |one| vec![one]);
    let measured = wanted.into_iter().try_for_each(|benchmark| match benchmark {
        Benchmark::Services => services::run(&mut broken),
        Benchmark::Loadtest(options) => loadtest::run(options, &mut broken),
        Benchmark::Memory(options) => memory::run(options, &mut broken),
    });
    for bound in &broken {
        eprintln!("broken: {bound}");
    }
    // Said before what ended the measuring, if something did.
    measured?;
    Ok(if broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Where the benchmarks leave their files.
fn directory() -> Result<PathBuf> {
    let directory = paths::target().join("bench");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    Ok(directory)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
