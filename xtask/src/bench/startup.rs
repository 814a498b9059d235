//! The time from the start of a service until it is ready.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::progress;

use super::program::{Process, free_address, pause};
use super::shared::median;

/// The number of starts. Their median counts.
const STARTS: usize = 15;

/// The longest accepted start. A new pod must serve soon, and its image and its probes take a second or more.
const MAX_MILLISECONDS: f64 = 100.0;

/// How often readiness is polled. A poll takes less than a tenth of a millisecond.
const POLL_INTERVAL: Duration = Duration::from_micros(200);

const TIMEOUT: Duration = Duration::from_secs(20);

/// Starts a service several times, prints the median, and adds a broken bound to `broken`. `prepare` runs before each start.
///
/// # Errors
/// When the service does not become ready.
pub(super) fn measure(
    name: &str,
    program: &Path,
    variables: &[(&str, &str)],
    prepare: impl Fn(),
    broken: &mut Vec<String>,
) -> Result<()> {
    let mut starts = Vec::new();
    for _ in 0..STARTS {
        prepare();
        starts.push(start(program, variables)?.as_secs_f64() * 1e3);
    }
    let milliseconds = median(&mut starts);
    println!(
        "  {name:<24} {milliseconds:>6.1} ms (from {:.1} to {:.1}), at most {MAX_MILLISECONDS}",
        starts[0],
        starts[STARTS - 1]
    );
    if milliseconds > MAX_MILLISECONDS {
        broken.push(format!(
            "{name} is ready after {milliseconds:.1} ms, more than {MAX_MILLISECONDS}"
        ));
    }
    Ok(())
}

fn start(program: &Path, variables: &[(&str, &str)]) -> Result<Duration> {
    let (address, admin) = (free_address()?, free_address()?);
    let mut command = progress::bound_to_this_process(&program.to_string_lossy());
    command
        .env("LISTEN", address)
        .env("ADMIN_LISTEN", &admin)
        .env("LOG_FILTER", "error")
        .envs(variables.iter().copied());
    let start = Instant::now();
    let _process = Process::start(&mut command)?;
    while !is_ready(&admin) {
        ensure!(
            start.elapsed() < TIMEOUT,
            "{} is not ready after {TIMEOUT:?}",
            program.display()
        );
        pause(POLL_INTERVAL);
    }
    Ok(start.elapsed())
}

fn is_ready(admin: &str) -> bool {
    let request = || {
        let mut stream = TcpStream::connect(admin)?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
        let mut response = String::new();
        stream.read_to_string(&mut response)?;
        std::io::Result::Ok(response)
    };
    request().is_ok_and(|response| response.starts_with("HTTP/1.1 200 "))
}
