//! `cargo xtask bench loadtest`: the load generator against oha and wrk.

use std::thread;

use anyhow::{Result, ensure};
use clap::Args;
use engine::capacity::{Search, SearchOptions};

use super::generator::{self, Generator, Load, Report};
use super::program::{self, GENERATOR_CORE, Server};
use super::shared::median;
use super::{accuracy, oha, wrk};

/// The lowest accepted rate of loadtest, relative to oha.
const MIN_RATIO: f64 = 1.0;

/// A generator holds a rate if at least this share of the requests is answered, no request fails, and the p99 latency is
/// at most [`MAX_P99_MS`].
const MIN_ACHIEVED: f64 = 0.99;

/// The largest accepted p99 latency from the intended start. The server takes about 20 microseconds of it, and the
/// generator causes the rest.
const MAX_P99_MS: f64 = 1.0;

/// The search for the highest rate.
const SEARCH: SearchOptions = SearchOptions {
    start: 10_000,
    lowest: 500,
    highest: u32::MAX,
    coarse: 1.25,
    fine: 1.05,
};

/// Rates that both generators hold easily. CPU times are comparable only at the same rate.
const COMMON_RATES: [u32; 2] = [10_000, 20_000];

const COMMON_RATE_SECONDS: u32 = 5;

/// The extent of the measurement.
#[derive(Args, Clone, Copy)]
pub(crate) struct Options {
    /// Number of rounds; the result is their median
    #[arg(long, default_value_t = Options::default().rounds, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Seconds per rate
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

/// Measures, prints the results, and adds broken bounds to `broken`.
///
/// # Errors
/// When a program cannot be installed, built or run.
pub(super) fn run(options: Options, broken: &mut Vec<String>) -> Result<()> {
    ensure!(
        thread::available_parallelism()?.get() > GENERATOR_CORE,
        "this benchmark needs 2 cores: one for the server, one for the generator"
    );
    wrk::ensure_installed()?;
    // This project's generator is the first.
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
            &wrk::Request::hello(),
        )?);
    }
    let ceiling = median(&mut rates);
    println!(
        "\nserver and generator on one core each, {} connections; wrk, closed loop: {ceiling:.0} requests per second",
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
        "\nhighest open-loop rate on one core with a p99 latency of at most {MAX_P99_MS} ms, {} s per rate",
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
    println!("  median {ours:>8.0}  {theirs:>8.0}  {ratio:>6.3}, at least {MIN_RATIO}");
    println!("  of wrk {:>8.2}  {:>8.2}", ours / ceiling, theirs / ceiling);
    if ratio < MIN_RATIO {
        broken.push(format!(
            "loadtest holds {ratio:.3} of the rate of oha on one core, less than {MIN_RATIO}"
        ));
    }
    Ok(())
}

/// Returns the highest rate of each generator. The generators alternate, and take turns in starting a round.
fn search(options: Options, generators: &[Generator; 2], server: &Server, round: u32) -> Result<[f64; 2]> {
    let mut searches = [Search::new(SEARCH), Search::new(SEARCH)];
    while searches.iter().any(|search| search.next().is_some()) {
        for index in order(round) {
            let Some(rate) = searches[index].next() else {
                continue;
            };
            let report = generators[index].run(&load(server, rate, options.seconds))?;
            let holds = holds(&report, rate);
            print_measurement(
                &generators[index],
                rate,
                &report,
                if holds { "held" } else { "missed" },
            );
            searches[index].record(rate, holds);
        }
    }
    let mut highest = [0.0; 2];
    for (index, search) in searches.iter().enumerate() {
        let rate = search.highest();
        ensure!(
            rate.is_some(),
            "{} holds no rate on this machine, which is probably too busy",
            generators[index].name
        );
        highest[index] = f64::from(rate.unwrap_or(0));
    }
    Ok(highest)
}

/// The second generator runs on a warmer machine, so the order alternates.
fn order(round: u32) -> [usize; 2] {
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
    report.failures == 0 && report.achieved >= MIN_ACHIEVED * f64::from(rate) && report.p99_ms <= MAX_P99_MS
}

/// Prints one measurement, to show progress and to explain a surprising result.
fn print_measurement(generator: &Generator, rate: u32, report: &Report, verdict: &str) {
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
        "\nCPU time of the generator per request, {COMMON_RATE_SECONDS} s per run, median of {}",
        options.rounds
    );
    println!("  requests per second   loadtest        oha   ratio");
    for rate in COMMON_RATES {
        let mut microseconds = [Vec::new(), Vec::new()];
        for round in 1..=options.rounds {
            for index in order(round) {
                let load = load(server, rate, COMMON_RATE_SECONDS);
                let (report, cpu_time) = generators[index].run_with_cpu_time(&load)?;
                print_measurement(&generators[index], rate, &report, "");
                let requests = report.achieved * f64::from(COMMON_RATE_SECONDS);
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
