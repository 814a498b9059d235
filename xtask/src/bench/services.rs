//! `cargo xtask bench services`: throughput of `/hello` against a bare axum in the same run, image sizes, idle memory.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use testbed::{paths, progress};

use super::program::Server;
use super::shared::{directory, median};
use super::wrk;
use crate::{cargo, images};

/// The lowest accepted throughput of `app_a`, relative to a bare axum.
const MIN_RATIO: f64 = 0.9;

/// The largest accepted archive of an image.
const MAX_IMAGE_MEGABYTES: f64 = 15.0;

/// The largest accepted resident memory of a service before its first request.
const MAX_IDLE_MEGABYTES: f64 = 12.0;

/// Each round measures both servers. Many short rounds give a steadier median than a few long ones, because the speed of
/// a shared machine changes more slowly than a round.
const ROUNDS: usize = 31;
const SECONDS_PER_RUN: u32 = 1;

/// The threads of wrk.
const THREADS: u32 = 2;

/// Measures, prints the results, and adds broken bounds to `broken`.
///
/// # Errors
/// When wrk or a program cannot be installed, built or run.
pub(super) fn run(broken: &mut Vec<String>) -> Result<()> {
    wrk::ensure_installed()?;
    build()?;
    images::build_services()?;
    throughput(broken)?;
    image_sizes(broken)
}

fn build() -> Result<()> {
    let mut build = cargo::command(&["build", "--release", "--locked", "--package", "app_a"]);
    build
        .args(["--example", "bare_hello", "--target", &paths::host()?])
        // The same flags as for the services that the benchmark compares it with.
        .env("RUSTFLAGS", images::STATIC);
    progress::step("build a bare axum", || progress::run(&mut build).map(drop))
}

/// A program of the release images.
fn release(program: &str) -> Result<PathBuf> {
    Ok(images::programs(images::Profile::Release)?.join(program))
}

fn throughput(broken: &mut Vec<String>) -> Result<()> {
    let directory = directory()?;
    let database = format!("sqlite://{}", directory.join("app_b.db").display());
    // A new database, so that the idle memory includes what its creation leaves allocated.
    for file in ["app_b.db", "app_b.db-shm", "app_b.db-wal"] {
        fs::remove_file(directory.join(file)).ok();
    }
    let bare_hello = release("examples/bare_hello")?;
    let bare = Server::bare(
        progress::bound_to_this_process(&bare_hello.to_string_lossy()),
        &[],
    )?;
    let variables = [("DATABASE_URL", &*database), ("DEMO_USERS", "true")];
    let app_b = Server::service(&release("app_b")?, &variables)?;
    let app_a = Server::service(
        &release("app_a")?,
        &[("APP_B_URL", &format!("http://{}", app_b.address))],
    )?;

    println!("\nidle memory, before the first request");
    for (name, program) in [("app_a", &app_a), ("app_b", &app_b)] {
        idle_memory(name, program, broken)?;
    }

    println!(
        "\n/hello, requests per second, wrk with {THREADS} threads and {} connections, {SECONDS_PER_RUN} s each",
        wrk::CONNECTIONS
    );
    println!("  round   app_a    bare axum   ratio");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        // The second server of a round runs on a warmer machine, so the order alternates.
        let (ours, theirs) = if round % 2 == 0 {
            let theirs = load(&bare)?;
            (load(&app_a)?, theirs)
        } else {
            (load(&app_a)?, load(&bare)?)
        };
        println!(
            "  {round:>5}  {ours:>7.0}    {theirs:>7.0}    {:>6.3}",
            ours / theirs
        );
        ratios.push(ours / theirs);
    }
    let ratio = median(&mut ratios);
    println!("  median ratio {ratio:.3}, at least {MIN_RATIO}");
    if ratio < MIN_RATIO {
        broken.push(format!(
            "/hello reaches {ratio:.3} of a bare axum, less than {MIN_RATIO}"
        ));
    }
    println!("\nmemory after the load (no bound)");
    for (name, program) in [("app_a", &app_a), ("bare axum", &bare)] {
        println!("  {name:<10} {:>5.1} MB", program.process.resident_megabytes()?);
    }
    Ok(())
}

/// Returns the requests per second of one run.
fn load(server: &Server) -> Result<f64> {
    let wrk = progress::bound_to_this_process(wrk::PROGRAM);
    wrk::requests_per_second(wrk, THREADS, SECONDS_PER_RUN, &server.address)
}

fn idle_memory(name: &str, program: &Server, broken: &mut Vec<String>) -> Result<()> {
    let megabytes = program.process.resident_megabytes()?;
    println!("  {name:<10} {megabytes:>5.1} MB, at most {MAX_IDLE_MEGABYTES}");
    if megabytes > MAX_IDLE_MEGABYTES {
        broken.push(format!(
            "{name} uses {megabytes:.1} MB when idle, more than {MAX_IDLE_MEGABYTES}"
        ));
    }
    Ok(())
}

fn image_sizes(broken: &mut Vec<String>) -> Result<()> {
    println!("\nimages");
    for archive in images::service_archives(images::Profile::Release) {
        let megabytes = images::megabytes(&archive)?;
        println!(
            "  {:<30} {megabytes:>5.1} MB, at most {MAX_IMAGE_MEGABYTES}",
            archive.display()
        );
        if megabytes > MAX_IMAGE_MEGABYTES {
            broken.push(format!(
                "{} is {megabytes:.1} MB large, more than {MAX_IMAGE_MEGABYTES}",
                archive.display()
            ));
        }
    }
    Ok(())
}
