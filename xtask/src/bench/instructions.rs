//! Instructions per request, which callgrind counts in user space. Noise on the machine does not change this number.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{preflight, progress};

use super::program::Server;
use super::shared::directory;

/// The name of the program and of its package.
const PROGRAM: &str = "valgrind";

/// The requests of two runs. The difference of the two counts contains neither the start nor the shutdown.
const REQUESTS: [u64; 2] = [500, 2500];

/// How long a process under callgrind may take to shut down.
const TIMEOUT: Duration = Duration::from_mins(1);

/// A kind of request to one service.
pub(super) struct Case<'a> {
    /// The name of the service.
    pub(super) name: &'a str,
    pub(super) program: &'a Path,
    pub(super) variables: &'a [(&'a str, &'a str)],
    /// The method and the path.
    pub(super) line: &'a str,
    /// The other headers, each with its end of line, and the body after an empty line.
    pub(super) rest: &'a str,
    /// The maximum number of instructions: 5 % above the measured number.
    pub(super) bound: u64,
}

/// Installs valgrind if it is missing.
///
/// # Errors
/// When the package cannot be installed.
pub(super) fn ensure_installed() -> Result<()> {
    preflight::install(&[(PROGRAM, PROGRAM)], "the benchmark needs it")
}

/// Counts the instructions of each case, prints them, and adds broken bounds to `broken`.
///
/// # Errors
/// When valgrind or a service fails.
pub(super) fn measure(cases: &[Case<'_>], broken: &mut Vec<String>) -> Result<()> {
    println!("\ninstructions per request (user space)");
    for case in cases {
        let [few, many] = REQUESTS;
        let (short, long) = (count(case, few)?, count(case, many)?);
        let instructions = long.saturating_sub(short) / (many - few);
        let name = format!("{} {}", case.name, case.line);
        println!("  {name:<24} {instructions:>8}, at most {}", case.bound);
        if instructions > case.bound {
            broken.push(format!(
                "{name} takes {instructions} instructions, more than {}",
                case.bound
            ));
        }
    }
    Ok(())
}

/// The instructions of a process that serves this number of requests.
fn count(case: &Case<'_>, requests: u64) -> Result<u64> {
    let log = directory()?.join("callgrind.log");
    let mut command = progress::bound_to_this_process(PROGRAM);
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(format!("--log-file={}", log.display()))
        .arg(case.program)
        // One worker, so that no idle worker searches for work. One connection for all requests.
        .envs([
            ("TOKIO_WORKER_THREADS", "1"),
            ("MAX_CONNECTION_AGE", "1h"),
            ("DRAIN_DELAY", "0s"),
        ])
        .envs(case.variables.iter().copied())
        .stderr(Stdio::null());
    let mut server = Server::service_as(command, case.program)?;
    send(case, &server.address, requests)?;
    server.process.terminate()?;
    let status = server.process.wait_for_exit(TIMEOUT)?;
    ensure!(status.success(), "{} under valgrind: {status}", case.name);
    let report = fs::read_to_string(&log)?;
    let count = report
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .with_context(|| format!("no count in {}", log.display()))?;
    Ok(count.1.trim().parse()?)
}

/// Sends the requests one after another over one connection.
fn send(case: &Case<'_>, address: &str, requests: u64) -> Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(address)?);
    let request = format!("{} HTTP/1.1\r\nhost: bench\r\n{}", case.line, case.rest);
    for _ in 0..requests {
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length) = (String::new(), 0);
        stream.read_line(&mut status)?;
        ensure!(status.starts_with("HTTP/1.1 200 "), "{}: {status}", case.line);
        loop {
            let mut header = String::new();
            stream.read_line(&mut header)?;
            if let Some(value) = header.strip_prefix("content-length: ") {
                length = value.trim().parse()?;
            }
            if header.trim().is_empty() {
                break;
            }
        }
        stream.read_exact(&mut vec![0; length])?;
    }
    Ok(())
}
