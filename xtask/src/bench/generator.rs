//! A load generator under measurement: runs it open loop on one core, and reads its report.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use testbed::{paths, progress};

use super::program::{self, GENERATOR_CORE, Process, SERVER_CORE, Server};
use super::shared::directory;
use super::wrk;
use crate::{cargo, images};

/// How long a generator may run beyond its schedule, for requests in flight and its report.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The server that the generators send to: an example of the crate loadtest.
const SERVER: &str = "fixed_answer";

/// A constant load.
pub(super) struct Load {
    pub(super) url: String,
    /// Requests per second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

/// The result of a run, as the generator reports it.
pub(super) struct Report {
    /// Responses with status 200, per second of the schedule.
    pub(super) achieved: f64,
    pub(super) failures: u64,
    /// Latencies, measured from the intended start.
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    /// 99th percentile of the generator's own delay. Only loadtest measures it.
    pub(super) lag_p99_ms: Option<f64>,
}

/// A generator: its program, its arguments and the form of its report.
pub(super) struct Generator {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    /// The arguments, separated by spaces, without connections, URL and report file.
    pub(super) arguments: fn(&Load) -> String,
    /// Reads the JSON report. `None` if its form is not the expected one.
    pub(super) read: fn(&Value, &Load) -> Option<Report>,
}

impl Generator {
    /// The generator of this project. Builds it.
    ///
    /// # Errors
    /// When the build fails.
    pub(super) fn loadtest() -> Result<Self> {
        Ok(Self {
            name: "loadtest",
            program: images::build_loadtest()?,
            arguments: |load| {
                let Load { rate, seconds, .. } = load;
                // No maximum age of connections, because oha has none. The short timeout is for `bench memory`: the generator
                // compresses the record of a second two seconds after the timeout. This must start before the first sample.
                format!(
                    "run --rate {rate} --duration {seconds}s --threads 1 --max-connection-age 0 --timeout 5s"
                )
            },
            read: |json, _| {
                let latency = &json["latency_ms"];
                Some(Report {
                    achieved: json["rates"]["succeeded"].as_f64()?,
                    failures: json["requests"]["failed"].as_u64()?,
                    p50_ms: latency["p50"].as_f64()?,
                    p90_ms: latency["p90"].as_f64()?,
                    p99_ms: latency["p99"].as_f64()?,
                    lag_p99_ms: Some(json["lag_ms"]["p99"].as_f64()?),
                })
            },
        })
    }

    /// Sends the whole load and returns the report.
    ///
    /// # Errors
    /// When the program does not run, or writes no report.
    pub(super) fn run(&self, load: &Load) -> Result<Report> {
        self.start(load)?.report()
    }

    /// As [`Generator::run`], with the CPU time of the generator. The kernel adds it up when the process exits.
    ///
    /// # Errors
    /// As [`Generator::run`].
    pub(super) fn run_with_cpu_time(&self, load: &Load) -> Result<(Report, Duration)> {
        let before = cpu_time_of_exited_children()?;
        let report = self.run(load)?;
        Ok((report, cpu_time_of_exited_children()?.saturating_sub(before)))
    }

    /// Starts to send the load.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) fn start<'a>(&'a self, load: &'a Load) -> Result<Run<'a>> {
        let directory = directory()?;
        let report = directory.join(format!("{}.json", self.name));
        let log = directory.join(format!("{}.log", self.name));
        // Otherwise the report of an earlier run could be read as the report of this run.
        fs::remove_file(&report).ok();
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = program::pinned(&self.program, GENERATOR_CORE);
        command
            .args((self.arguments)(load).split(' '))
            .args(["-c", wrk::CONNECTIONS, &load.url, "-o"])
            .arg(&report)
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(Run {
            process: Process::start(&mut command)?,
            generator: self,
            load,
            report,
            log,
        })
    }
}

/// A running generator.
pub(super) struct Run<'a> {
    pub(super) process: Process,
    generator: &'a Generator,
    load: &'a Load,
    report: PathBuf,
    log: PathBuf,
}

impl Run<'_> {
    /// Waits until the generator exits, and reads the report. Ignores the exit code, which tells whether the generator's own
    /// thresholds hold. The bounds of the benchmark are different.
    ///
    /// # Errors
    /// When the generator does not exit in time, or writes no report.
    pub(super) fn report(mut self) -> Result<Report> {
        let schedule = Duration::from_secs(self.load.seconds.into());
        let status = self
            .process
            .wait_for_exit(schedule + TIMEOUT)
            .context(self.generator.name)?;
        let json: Option<Value> = fs::read(&self.report)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        json.and_then(|json| (self.generator.read)(&json, self.load))
            .with_context(|| {
                format!(
                    "{}: {status}; no valid report in {}; its output is in {}",
                    self.generator.name,
                    self.report.display(),
                    self.log.display()
                )
            })
    }
}

fn cpu_time_of_exited_children() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let microseconds = [usage.user_time(), usage.system_time()]
        .iter()
        .map(|time| time.tv_sec() * 1_000_000 + time.tv_usec())
        .sum::<i64>();
    Ok(Duration::from_micros(microseconds.try_into()?))
}

/// Builds the server.
///
/// # Errors
/// When the build fails.
pub(super) fn build_server() -> Result<PathBuf> {
    let mut build = cargo::command(&["build", "--release", "--locked", "--package", "loadtest"]);
    build.args(["--example", SERVER]);
    progress::step("build the server for the generators", || {
        progress::run(&mut build)
    })?;
    Ok(paths::target().join("release/examples").join(SERVER))
}

/// Starts the server on its own core.
///
/// # Errors
/// When the server does not start.
pub(super) fn serve(program: &Path, arguments: &[&str]) -> Result<Server> {
    Server::bare(program::pinned(program, SERVER_CORE), arguments)
}
