//! `cargo xtask bench services`: throughput against bare peers in the same run, time to start, instructions per request,
//! idle memory and image sizes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use testbed::{paths, progress};

use super::instructions::{self, Case};
use super::program::Server;
use super::shared::directory;
use super::wrk::{self, Request};
use super::{startup, throughput};
use crate::{cargo, images};

/// The largest accepted archive of an image.
const MAX_IMAGE_MEGABYTES: f64 = 15.0;

/// The largest accepted resident memory of a service before its first request.
const MAX_IDLE_MEGABYTES: f64 = 12.0;

/// The token of a demonstration user, as wrk and the count of instructions send it.
const AUTHORIZATION: &str = "authorization: mytoken";

/// The extent of the measurement.
#[derive(Args, Clone, Copy)]
pub(crate) struct Options {
    /// Rounds of each comparison. Many short rounds give a steadier median than a few long ones, because the speed of a
    /// shared machine changes more slowly than a round
    #[arg(long, default_value_t = Options::default().rounds, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { rounds: 31 }
    }
}

/// Measures, prints the results, and adds broken bounds to `broken`.
///
/// # Errors
/// When wrk, valgrind or a program cannot be installed, built or run.
pub(super) fn run(options: Options, broken: &mut Vec<String>) -> Result<()> {
    wrk::ensure_installed()?;
    instructions::ensure_installed()?;
    build()?;
    images::build_services()?;
    let database = Database::new()?;
    times_to_start(&database, broken)?;
    database.remove();
    servers(options, &database, broken)?;
    count_instructions(&database, broken)?;
    image_sizes(broken)
}

fn build() -> Result<()> {
    let mut build = cargo::command(&["build", "--release", "--locked", "--target", &paths::host()?]);
    build.args(["--package", "app_a", "--package", "app_b", "--examples"]);
    // The same flags as for the services that the benchmark compares them with.
    images::set_flags(&mut build)?;
    progress::step("build the bare servers", || progress::run(&mut build).map(drop))
}

/// A program of the release images.
fn release(program: &str) -> Result<PathBuf> {
    Ok(images::programs(images::Profile::Release)?.join(program))
}

/// The database of `app_b`, in the folder of the benchmarks, with the demonstration users.
struct Database {
    path: PathBuf,
    url: String,
}

impl Database {
    fn new() -> Result<Self> {
        let path = directory()?.join("app_b.db");
        let url = format!("sqlite://{}", path.display());
        Ok(Self { path, url })
    }

    /// The settings of `app_b`.
    fn variables(&self) -> [(&str, &str); 2] {
        [("DATABASE_URL", &self.url), ("DEMO_USERS", "true")]
    }

    fn remove(&self) {
        for end in ["", "-shm", "-wal"] {
            fs::remove_file(format!("{}{end}", self.path.display())).ok();
        }
    }
}

fn times_to_start(database: &Database, broken: &mut Vec<String>) -> Result<()> {
    println!("\ntime from the start of the process until /readyz responds 200, median");
    let variables = database.variables();
    let app_b = release("app_b")?;
    startup::measure("app_a", &release("app_a")?, &[], || {}, broken)?;
    startup::measure(
        "app_b, new database",
        &app_b,
        &variables,
        || database.remove(),
        broken,
    )?;
    startup::measure("app_b, existing database", &app_b, &variables, || {}, broken)
}

/// Measures the idle memory, and then the throughput, of the same processes.
fn servers(options: Options, database: &Database, broken: &mut Vec<String>) -> Result<()> {
    // A new database: the idle memory then includes what stays allocated after its creation.
    let app_b = Server::service(&release("app_b")?, &database.variables())?;
    let app_b_url = format!("http://{}", app_b.address);
    let app_a = Server::service(&release("app_a")?, &[("APP_B_URL", &app_b_url)])?;
    println!("\nidle memory, before the first request");
    for (name, program) in [("app_a", &app_a), ("app_b", &app_b)] {
        idle_memory(name, program, broken)?;
    }
    let bare = |name: &str, arguments: &[&str]| {
        let program = release(&format!("examples/{name}"))?;
        let command = progress::bound_to_this_process(&program.to_string_lossy());
        Server::bare(command, arguments)
    };
    let bare_hello = bare("bare_hello", &[])?;
    let bare_auth = bare("bare_auth", &[&database.path.to_string_lossy()])?;
    let bare_jobs = bare("bare_jobs", &[&bare_auth.address])?;
    let rounds = options.rounds as usize;
    let hello = [("app_a", &app_a), ("bare axum", &bare_hello)];
    throughput::compare(&Request::hello(), hello, rounds, broken)?;
    let jobs = [("the pair", &app_a), ("bare pair", &bare_jobs)];
    throughput::compare(&jobs_request()?, jobs, rounds, broken)?;

    println!("\nmemory after the load (no bound)");
    for (name, program) in [
        ("app_a", &app_a),
        ("app_b", &app_b),
        ("bare axum", &bare_hello),
        ("bare frontend", &bare_jobs),
        ("bare backend", &bare_auth),
    ] {
        println!("  {name:<14} {:>5.1} MB", program.process.resident_megabytes()?);
    }
    Ok(())
}

/// `PUT /jobs`. wrk takes the method from a script only.
fn jobs_request() -> Result<Request> {
    let script = directory()?.join("put.lua");
    fs::write(&script, "wrk.method = \"PUT\"\n")?;
    let arguments = ["--header", AUTHORIZATION, "--script", &script.to_string_lossy()];
    Ok(Request {
        path: "/jobs",
        arguments: arguments.map(str::to_owned).to_vec(),
    })
}

fn count_instructions(database: &Database, broken: &mut Vec<String>) -> Result<()> {
    let (app_a, app_b): (&Path, &Path) = (&release("app_a")?, &release("app_b")?);
    let database = database.variables();
    let backend = Server::service(app_b, &database)?;
    let backend_url = format!("http://{}", backend.address);
    let form = "content-type: application/x-www-form-urlencoded\r\ncontent-length: 13\r\n\r\ntoken=mytoken";
    let cases = [
        Case {
            name: "app_a",
            program: app_a,
            variables: &[],
            line: "GET /hello",
            rest: "\r\n",
            bound: 18_000,
        },
        Case {
            name: "app_a",
            program: app_a,
            variables: &[("APP_B_URL", &backend_url)],
            line: "PUT /jobs",
            rest: &format!("{AUTHORIZATION}\r\n\r\n"),
            bound: 95_000,
        },
        Case {
            name: "app_b",
            program: app_b,
            variables: &database,
            line: "POST /auth",
            rest: form,
            bound: 59_500,
        },
    ];
    instructions::measure(&cases, broken)
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
