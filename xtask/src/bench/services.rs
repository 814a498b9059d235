//! `cargo xtask bench services`: `/hello` against a bare axum in the same run, the size of the images, memory at rest.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use testbed::{paths, progress};

use super::{directory, median, program::Server, wrk};
use crate::{cargo, images};

/// `app_a` answers at least so much of what a bare axum answers in the same time.
const LEAST_RATIO: f64 = 0.9;

/// An image, which `docker load` takes as a file.
const LARGEST_IMAGE_MEGABYTES: f64 = 15.0;

/// Memory of a service that waits for requests.
const LARGEST_IDLE_MEGABYTES: f64 = 12.0;

/// Rounds, each of which measures both. Many short ones: the machine's mood changes more slowly than a round, and the
/// median of many pairs moves less than that of few long ones.
const ROUNDS: usize = 31;
const SECONDS_A_RUN: u32 = 1;

/// wrk's.
const THREADS: u32 = 2;

/// Measures and prints, and adds the bounds that are broken.
///
/// # Errors
/// When wrk or the programs cannot be had, or do not run.
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
        // As the images' programs are built, which it is compared with.
        .env("RUSTFLAGS", images::STATIC);
    progress::step("build a bare axum", || progress::run(&mut build).map(drop))
}

/// A program as the images have it.
fn release(program: &str) -> Result<PathBuf> {
    Ok(paths::own_programs()?.join(program))
}

fn throughput(broken: &mut Vec<String>) -> Result<()> {
    let directory = directory()?;
    let database = format!("sqlite://{}", directory.join("app_b.db").display());
    // A new database, so that hashing the seeded passwords is part of what memory at rest is measured after.
    for file in ["app_b.db", "app_b.db-shm", "app_b.db-wal"] {
        fs::remove_file(directory.join(file)).ok();
    }
    let bare_hello = release("examples/bare_hello")?;
    let bare = Server::bare(
        progress::bound_to_this_process(&bare_hello.to_string_lossy()),
        &[],
    )?;
    let app_b = Server::service(&release("app_b")?, &[("DATABASE_URL", &database)])?;
    let app_a = Server::service(
        &release("app_a")?,
        &[("APP_B_URL", &format!("http://{}", app_b.address))],
    )?;

    println!("\nmemory at rest, before any request");
    for (name, program) in [("app_a", &app_a), ("app_b", &app_b)] {
        idle_memory(name, program, broken)?;
    }

    println!(
        "\n/hello, requests per second, wrk with {THREADS} threads and {} connections, {SECONDS_A_RUN} s each",
        wrk::CONNECTIONS
    );
    println!("  round   app_a    bare axum   ratio");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        // Whoever comes second finds a warmer machine: they take turns.
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
    println!("  median ratio {ratio:.3}, at least {LEAST_RATIO}");
    if ratio < LEAST_RATIO {
        broken.push(format!(
            "/hello at {ratio:.3} of a bare axum, at least {LEAST_RATIO}"
        ));
    }
    println!("\nmemory after the load, for information");
    for (name, program) in [("app_a", &app_a), ("bare axum", &bare)] {
        println!("  {name:<10} {:>5.1} MB", program.process.resident_megabytes()?);
    }
    Ok(())
}

/// Requests per second over one run.
fn load(server: &Server) -> Result<f64> {
    let wrk = progress::bound_to_this_process(wrk::PROGRAM);
    wrk::requests_per_second(wrk, THREADS, SECONDS_A_RUN, &server.address)
}

fn idle_memory(name: &str, program: &Server, broken: &mut Vec<String>) -> Result<()> {
    let megabytes = program.process.resident_megabytes()?;
    println!("  {name:<10} {megabytes:>5.1} MB, at most {LARGEST_IDLE_MEGABYTES}");
    if megabytes > LARGEST_IDLE_MEGABYTES {
        broken.push(format!(
            "{name} holds {megabytes:.1} MB at rest, at most {LARGEST_IDLE_MEGABYTES}"
        ));
    }
    Ok(())
}

fn image_sizes(broken: &mut Vec<String>) -> Result<()> {
    println!("\nimages");
    for archive in images::service_archives() {
        let megabytes = images::megabytes(&archive)?;
        println!(
            "  {:<30} {megabytes:>5.1} MB, at most {LARGEST_IMAGE_MEGABYTES}",
            archive.display()
        );
        if megabytes > LARGEST_IMAGE_MEGABYTES {
            broken.push(format!(
                "{} has {megabytes:.1} MB, at most {LARGEST_IMAGE_MEGABYTES}",
                archive.display()
            ));
        }
    }
    Ok(())
}
