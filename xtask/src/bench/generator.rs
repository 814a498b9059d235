//! A load generator under measurement: one run, open loop, on one core, and what its report says of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;
use testbed::{paths, progress};

use super::program::{self, GENERATOR_CORE, Process, SERVER_CORE, Server};
use super::{directory, wrk};
use crate::{cargo, images};

/// How long a generator may take beyond its schedule: requests that are in flight, and its own report.
const PATIENCE: Duration = Duration::from_secs(20);

/// The server that generators are measured against, an example of loadtest.
const SERVER: &str = "fixed_answer";

/// What to send.
pub(super) struct Load {
    pub(super) url: String,
    /// Requests per second.
    pub(super) rate: u32,
    pub(super) seconds: u32,
}

/// What a generator reports of a run.
pub(super) struct Report {
    /// Requests answered with 200, per second of the schedule.
    pub(super) achieved: f64,
    pub(super) failures: u64,
    /// Latencies from the intended start, as the generator has it.
    pub(super) p50_ms: f64,
    pub(super) p90_ms: f64,
    pub(super) p99_ms: f64,
    /// 99th percentile of the generator's own delay, where it measures one.
    pub(super) lag_p99_ms: Option<f64>,
}

/// A generator, and how it is called and read.
pub(super) struct Generator {
    pub(super) name: &'static str,
    pub(super) program: PathBuf,
    /// Its arguments, parted by spaces, but for the connections, the URL, and where the report goes.
    pub(super) arguments: fn(&Load) -> String,
    /// Reads its JSON; `None` when that is not as expected.
    pub(super) read: fn(&Value, &Load) -> Option<Report>,
}

impl Generator {
    /// This project's own, built now.
    ///
    /// # Errors
    /// When the build fails.
    pub(super) fn loadtest() -> Result<Self> {
        Ok(Self {
            name: "loadtest",
            program: images::build_loadtest()?,
            arguments: |load| {
                let Load { rate, seconds, .. } = load;
                // Connections are kept, as oha keeps them. What a second measured is packed once nothing in it can end any
                // more, two seconds after the timeout: so that this has begun when memory is first looked at.
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

    /// Sends the load, to the end.
    ///
    /// # Errors
    /// When the program does not run, or leaves no report.
    pub(super) fn run(&self, load: &Load) -> Result<Report> {
        self.start(load)?.report()
    }

    /// The same, with the CPU time that the run took: the generator's, whose time counts once it has ended.
    ///
    /// # Errors
    /// As [`Generator::run`].
    pub(super) fn run_with_cpu_time(&self, load: &Load) -> Result<(Report, Duration)> {
        let before = cpu_time_of_ended_children()?;
        let report = self.run(load)?;
        Ok((report, cpu_time_of_ended_children()?.saturating_sub(before)))
    }

    /// Begins to send the load.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub(super) fn start<'a>(&'a self, load: &'a Load) -> Result<Run<'a>> {
        let directory = directory()?;
        let report = directory.join(format!("{}.json", self.name));
        let log = directory.join(format!("{}.log", self.name));
        // What an earlier run left is not taken for this one's.
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

/// A generator that is at work.
pub(super) struct Run<'a> {
    pub(super) process: Process,
    generator: &'a Generator,
    load: &'a Load,
    report: PathBuf,
    log: PathBuf,
}

impl Run<'_> {
    /// Waits for the end, and reads the report. Whether the run was a good one is the reader's to say: the exit code
    /// of a generator tells of bounds that are not the benchmark's.
    ///
    /// # Errors
    /// When it does not end, or leaves no report.
    pub(super) fn report(mut self) -> Result<Report> {
        let schedule = Duration::from_secs(self.load.seconds.into());
        let status = self
            .process
            .until_ended(schedule + PATIENCE)
            .context(self.generator.name)?;
        let json: Option<Value> = fs::read(&self.report)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        json.and_then(|json| (self.generator.read)(&json, self.load))
            .with_context(|| {
                format!(
                    "{} ended with {status} and no report as expected in {}; it printed {}",
                    self.generator.name,
                    self.report.display(),
                    self.log.display()
                )
            })
    }
}

fn cpu_time_of_ended_children() -> Result<Duration> {
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
    progress::step("build a server for generators", || progress::run(&mut build))?;
    Ok(paths::target().join("release/examples").join(SERVER))
}

/// Starts it on a core of its own.
///
/// # Errors
/// When it does not start.
pub(super) fn serve(program: &Path, arguments: &[&str]) -> Result<Server> {
    Server::bare(program::pinned(program, SERVER_CORE), arguments)
}
