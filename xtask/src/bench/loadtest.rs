//! `cargo xtask bench loadtest`: the load generator beside oha and wrk.

use std::thread;

use anyhow::{Result, ensure};
use clap::Args;

use super::generator::{self, Generator, Load, Report};
use super::program::{self, GENERATOR_CORE, Server};
use super::search::Search;
use super::{accuracy, median, oha, wrk};

/// loadtest holds at least so much of what oha holds.
const LEAST_RATIO: f64 = 1.0;

/// A rate is held when at least so much of it was answered, without a failure,
const LEAST_ACHIEVED: f64 = 0.99;

/// and when 99 % of the answers came within this time of the intended start. The server takes some 20 microseconds: what
/// is beyond is the generator's.
const LARGEST_P99_MS: f64 = 1.0;

/// Rates at which both generators are at ease: CPU time is compared at the same work.
const COMMON_RATES: [u32; 2] = [10_000, 20_000];

const SECONDS_AT_COMMON_RATES: u32 = 5;

/// How long to measure.
#[derive(Args, Clone, Copy)]
pub(crate) struct Options {
    /// Rounds, of which the median counts
    #[arg(long, default_value_t = Options::default().rounds, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Seconds at each rate
    #[arg(long, default_value_t = Options::default().seconds, value_parser = clap::value_parser!(u32).range(1..=60))]
    seconds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rounds: 3,
            seconds: 4,
        }
    }
}

/// Measures and prints, and adds the bounds that are broken.
///
/// # Errors
/// When a program cannot be had, or does not run.
pub(super) fn run(options: Options, broken: &mut Vec<String>) -> Result<()> {
    ensure!(
        thread::available_parallelism()?.get() > GENERATOR_CORE,
        "the server and the generator need a core each"
    );
    wrk::ensure_installed()?;
    // Ours is the first.
    let generators = [Generator::loadtest()?, oha::install()?];
    let program = generator::build_server()?;
    let server = generator::serve(&program, &[])?;
    let ceiling = closed_loop(options, &server)?;
    highest_rates(options, &generators, &server, ceiling, broken)?;
    cpu_times(options, &generators, &server)?;
    drop(server);
    let bimodal = generator::serve(&program, &["bimodal"])?;
    accuracy::run(&generators, &bimodal, broken)
}

fn closed_loop(options: Options, server: &Server) -> Result<f64> {
    let mut rates = Vec::new();
    for _ in 0..options.rounds {
        let wrk = program::pinned(wrk::PROGRAM.as_ref(), GENERATOR_CORE);
        rates.push(wrk::requests_per_second(
            wrk,
            1,
            options.seconds,
            &server.address,
        )?);
    }
    let ceiling = median(&mut rates);
    println!(
        "\nthe server and the generator on one core each, {} connections; wrk, closed loop: {ceiling:.0} requests per second",
        wrk::CONNECTIONS
    );
    Ok(ceiling)
}

fn highest_rates(
    options: Options,
    generators: &[Generator; 2],
    server: &Server,
    ceiling: f64,
    broken: &mut Vec<String>,
) -> Result<()> {
    println!(
        "\nhighest rate held open loop on one core, p99 within {LARGEST_P99_MS} ms of the intended start, {} s each",
        options.seconds
    );
    println!("  round  loadtest       oha   ratio");
    let mut highest = [Vec::new(), Vec::new()];
    for round in 1..=options.rounds {
        let [ours, theirs] = search(options, generators, server, round)?;
        println!("  {round:>5}  {ours:>8.0}  {theirs:>8.0}  {:>6.3}", ours / theirs);
        highest[0].push(ours);
        highest[1].push(theirs);
    }
    let [ours, theirs] = highest.map(|mut rates| median(&mut rates));
    let ratio = ours / theirs;
    println!("  median {ours:>8.0}  {theirs:>8.0}  {ratio:>6.3}, at least {LEAST_RATIO}");
    println!("  of wrk {:>8.2}  {:>8.2}", ours / ceiling, theirs / ceiling);
    if ratio < LEAST_RATIO {
        broken.push(format!(
            "loadtest holds {ratio:.3} of the rate that oha holds on one core, at least {LEAST_RATIO}"
        ));
    }
    Ok(())
}

/// The highest rate of each. They take turns, and begin in turn.
fn search(options: Options, generators: &[Generator; 2], server: &Server, round: u32) -> Result<[f64; 2]> {
    let mut searches = [Search::default(), Search::default()];
    while searches.iter().any(|search| search.next().is_some()) {
        for index in in_turn(round) {
            let Some(rate) = searches[index].next() else {
                continue;
            };
            let report = generators[index].run(&load(server, rate, options.seconds))?;
            let holds = holds(&report, rate);
            show(
                &generators[index],
                rate,
                &report,
                if holds { "held" } else { "missed" },
            );
            searches[index].tried(rate, holds);
        }
    }
    let mut highest = [0.0; 2];
    for (index, search) in searches.iter().enumerate() {
        let rate = search.highest();
        ensure!(
            rate.is_some(),
            "{} holds no rate at all on this machine as it is",
            generators[index].name
        );
        highest[index] = f64::from(rate.unwrap_or(0));
    }
    Ok(highest)
}

/// Whoever comes second finds a warmer machine.
fn in_turn(round: u32) -> [usize; 2] {
    if round.is_multiple_of(2) { [1, 0] } else { [0, 1] }
}

fn load(server: &Server, rate: u32, seconds: u32) -> Load {
    Load {
        url: format!("http://{}/hello", server.address),
        rate,
        seconds,
    }
}

fn holds(report: &Report, rate: u32) -> bool {
    report.failures == 0
        && report.achieved >= LEAST_ACHIEVED * f64::from(rate)
        && report.p99_ms <= LARGEST_P99_MS
}

/// A sign of life, and what a surprising result is explained with.
fn show(generator: &Generator, rate: u32, report: &Report, verdict: &str) {
    let lag = report
        .lag_p99_ms
        .map_or(String::new(), |lag| format!(", its lag {lag:.3} ms"));
    eprintln!(
        "    {:<8} at {rate:>6}/s {verdict:<6} {:>6.0}/s answered, {} failed, p99 {:.3} ms{lag}",
        generator.name, report.achieved, report.failures, report.p99_ms
    );
}

fn cpu_times(options: Options, generators: &[Generator; 2], server: &Server) -> Result<()> {
    println!(
        "\nCPU time of the generator for each request, {SECONDS_AT_COMMON_RATES} s each, median of {}",
        options.rounds
    );
    println!("  requests per second   loadtest        oha   ratio");
    for rate in COMMON_RATES {
        let mut microseconds = [Vec::new(), Vec::new()];
        for round in 1..=options.rounds {
            for index in in_turn(round) {
                let load = load(server, rate, SECONDS_AT_COMMON_RATES);
                let (report, cpu_time) = generators[index].run_with_cpu_time(&load)?;
                show(&generators[index], rate, &report, "");
                let requests = report.achieved * f64::from(SECONDS_AT_COMMON_RATES);
                microseconds[index].push(cpu_time.as_secs_f64() * 1e6 / requests);
            }
        }
        let [ours, theirs] = microseconds.map(|mut times| median(&mut times));
        println!(
            "  {rate:>19}   {ours:>5.1} µs   {theirs:>5.1} µs   {:>5.3}",
            ours / theirs
        );
    }
    Ok(())
}
