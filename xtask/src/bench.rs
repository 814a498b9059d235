//! `cargo xtask bench`: `/hello` against a bare axum in the same run, the size of the images, memory at rest.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::geteuid;
use testbed::{paths, progress};

use crate::images;

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

/// Measures, prints, and fails where a bound is broken.
///
/// # Errors
/// When wrk or the programs cannot be had, or do not run.
pub(crate) fn run() -> Result<ExitCode> {
    ensure_wrk()?;
    build()?;
    images::build_services()?;
    let mut broken = Vec::new();
    throughput(&mut broken)?;
    image_sizes(&mut broken)?;
    if broken.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for bound in broken {
        eprintln!("broken: {bound}");
    }
    Ok(ExitCode::FAILURE)
}

fn ensure_wrk() -> Result<()> {
    let is_there = || Command::new("wrk").arg("-v").output().is_ok();
    if is_there() {
        return Ok(());
    }
    ensure!(
        geteuid().is_root(),
        "wrk is missing: `apt-get install wrk` needs root"
    );
    progress::step("install wrk with apt-get", || {
        let mut install = progress::bound_to_this_process("apt-get");
        install
            .args(["install", "--yes", "--no-install-recommends", "wrk"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        progress::run(&mut install).map(drop)
    })
    .context("wrk is missing and cannot be installed; `apt-get update` may help")?;
    ensure!(is_there(), "wrk is still missing after apt-get install");
    Ok(())
}

fn build() -> Result<()> {
    let mut build = progress::bound_to_this_process("cargo");
    build
        .current_dir(paths::workspace())
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "app_a",
            "--example",
            "bare_hello",
        ])
        .args(["--target", &paths::host()?])
        // As the images' programs are built, which it is compared with.
        .env("RUSTFLAGS", images::STATIC);
    progress::step("build a bare axum", || progress::run(&mut build).map(drop))
}

/// A program as the images have it.
fn release(program: &str) -> Result<PathBuf> {
    Ok(paths::own_programs()?.join(program))
}

fn throughput(broken: &mut Vec<String>) -> Result<()> {
    let directory = paths::target().join("bench");
    fs::create_dir_all(&directory)?;
    let database = format!("sqlite://{}", directory.join("app_b.db").display());
    // A new database, so that hashing the seeded passwords is part of what memory at rest is measured after.
    for file in ["app_b.db", "app_b.db-shm", "app_b.db-wal"] {
        fs::remove_file(directory.join(file)).ok();
    }
    let bare = Program::start(&release("examples/bare_hello")?, true, &[])?;
    let app_b = Program::start(&release("app_b")?, false, &[("DATABASE_URL", &database)])?;
    let app_a = Program::start(
        &release("app_a")?,
        false,
        &[("APP_B_URL", &format!("http://{}", app_b.address))],
    )?;

    println!("\nmemory at rest, before any request");
    for (name, program) in [("app_a", &app_a), ("app_b", &app_b)] {
        idle_memory(name, program, broken)?;
    }

    println!("\n/hello, requests per second, wrk with 2 threads and 64 connections, {SECONDS_A_RUN} s each");
    println!("  round   app_a    bare axum   ratio");
    let mut ratios = Vec::new();
    for round in 1..=ROUNDS {
        // Whoever comes second finds a warmer machine: they take turns.
        let (ours, theirs) = if round % 2 == 0 {
            let theirs = bare.load()?;
            (app_a.load()?, theirs)
        } else {
            (app_a.load()?, bare.load()?)
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
        println!("  {name:<10} {:>5.1} MB", program.resident_megabytes()?);
    }
    Ok(())
}

fn idle_memory(name: &str, program: &Program, broken: &mut Vec<String>) -> Result<()> {
    let megabytes = program.resident_megabytes()?;
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
        let metadata = fs::metadata(&archive).with_context(|| archive.display().to_string())?;
        let megabytes = in_megabytes(metadata.len());
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

/// A program under measurement, killed when it is dropped.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start(program: &Path, is_bare: bool, variables: &[(&str, &str)]) -> Result<Self> {
        let (address, admin) = (free_address()?, free_address()?);
        let mut command = progress::bound_to_this_process(&program.to_string_lossy());
        if is_bare {
            command.arg(&address);
        } else {
            command
                .env("LISTEN", &address)
                .env("ADMIN_LISTEN", &admin)
                .envs(variables.iter().copied());
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let started = Self { child, address };
        started.until_ready(if is_bare { None } else { Some((program, &admin)) })?;
        Ok(started)
    }

    fn until_ready(&self, health: Option<(&Path, &str)>) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let is_ready = match health {
                Some((program, admin)) => {
                    let mut check = Command::new(program);
                    check
                        .arg("healthcheck")
                        .env("ADMIN_LISTEN", admin)
                        .stderr(Stdio::null())
                        .status()?
                        .success()
                }
                None => std::net::TcpStream::connect(&self.address).is_ok(),
            };
            if is_ready {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{} is not ready after 20 s",
                self.address
            );
            pause(Duration::from_millis(20));
        }
    }

    /// Requests per second over one run.
    fn load(&self) -> Result<f64> {
        let url = format!("http://{}/hello", self.address);
        let mut wrk = progress::bound_to_this_process("wrk");
        wrk.args([
            "--threads",
            "2",
            "--connections",
            "64",
            "--duration",
            &format!("{SECONDS_A_RUN}s"),
            &url,
        ]);
        let report = progress::run(&mut wrk)?;
        // wrk says nothing of errors where there are none.
        for trouble in ["Non-2xx", "Socket errors"] {
            ensure!(!report.contains(trouble), "{url} under load:\n{report}");
        }
        let line = report.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        Ok(line.context("wrk reports a rate")?.trim().parse()?)
    }

    fn resident_megabytes(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes: u64 = match line.and_then(|line| line.trim().strip_suffix(" kB")) {
            Some(number) => number.trim().parse()?,
            None => bail!("the kernel names no VmRSS"),
        };
        Ok(in_megabytes(kibibytes * 1024))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "between two looks at a process that has nothing to wait on"
)]
fn pause(duration: Duration) {
    std::thread::sleep(duration);
}

fn free_address() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// 10^6 bytes.
#[expect(clippy::cast_precision_loss, reason = "a size for people")]
fn in_megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
