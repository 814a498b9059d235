//! `cargo xtask up`: the pair on this machine without a cluster, until Ctrl-C.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use testbed::{paths, progress};

use crate::cargo;

/// Longest start, on a busy machine: hashing the seeded passwords takes most of it.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// More than the services' own `DRAIN_DEADLINE` (15 s) for what is in flight; then it is killed.
const STOP_WITHIN: Duration = Duration::from_secs(20);

struct Service {
    name: &'static str,
    address: &'static str,
    admin: &'static str,
}

const APP_A: Service = Service {
    name: "app_a",
    address: "127.0.0.1:5000",
    admin: "127.0.0.1:9000",
};
const APP_B: Service = Service {
    name: "app_b",
    address: "127.0.0.1:5001",
    admin: "127.0.0.1:9001",
};

/// What happened while the pair runs.
enum Event {
    Signal(Signal),
    /// A process closed its output, which it does by ending.
    Closed(&'static str),
}

/// Builds the pair, runs it until Ctrl-C or SIGTERM, and stops it.
///
/// # Errors
/// When an address is taken, a build fails, or a service ends by itself.
pub(crate) fn run() -> Result<ExitCode> {
    for service in [&APP_B, &APP_A] {
        service.check_free()?;
    }
    let mut build = cargo::command(&["build", "--locked", "--package", "app_a", "--package", "app_b"]);
    progress::step("build app_a and app_b", || progress::run(&mut build).map(drop))?;

    let (sender, events) = channel();
    watch_signals(sender.clone())?;
    let mut running = Vec::new();
    let outcome = serve(&mut running, &sender, &events);
    stop(running, &events);
    outcome
}

fn serve(running: &mut Vec<Running>, sender: &Sender<Event>, events: &Receiver<Event>) -> Result<ExitCode> {
    let database = paths::target().join("up/app_b.db");
    fs::create_dir_all(paths::target().join("up"))?;
    let database_url = format!("sqlite://{}", database.display());
    for (service, variables) in [
        (&APP_B, vec![("DATABASE_URL", database_url)]),
        (&APP_A, vec![("APP_B_URL", format!("http://{}", APP_B.address))]),
    ] {
        running.push(service.start(&variables, sender.clone())?);
        match service.until_ready(events)? {
            Some(Event::Signal(_)) => return Ok(ExitCode::SUCCESS),
            Some(Event::Closed(name)) => {
                bail!("{name} ended before it was ready; its last lines above say why")
            }
            None => {}
        }
    }
    println!("{}", instructions(&database.display().to_string()));
    match events.recv().context("nothing is watched any more")? {
        Event::Signal(signal) => {
            println!("{signal}: stopping both");
            Ok(ExitCode::SUCCESS)
        }
        Event::Closed(name) => bail!("{name} ended by itself; its last lines above say why"),
    }
}

fn instructions(database: &str) -> String {
    let (a, b) = (APP_A.address, APP_B.address);
    format!(
        "
app_a  http://{a}   admin http://{}
app_b  http://{b}   admin http://{}   database {database}

  curl http://{a}/hello
  curl -X PUT -H 'Authorization: mytoken' http://{a}/jobs
  curl -X PUT -H 'Authorization: mytoken' -H 'Accept: application/json' http://{a}/jobs
  curl -d token=mytoken http://{b}/auth
  curl http://{}/metrics

Ctrl-C stops both.
",
        APP_A.admin, APP_B.admin, APP_A.admin
    )
}

/// Turns the signals that end this process into events. They are caught and not blocked: a child would inherit the
/// block, and never see the signal that is to end it.
fn watch_signals(sender: Sender<Event>) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).context("catching signals")?;
    thread::spawn(move || {
        for signal in signals.forever().flat_map(Signal::try_from) {
            if sender.send(Event::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

impl Service {
    fn program(&self) -> PathBuf {
        paths::target().join("debug").join(self.name)
    }

    fn check_free(&self) -> Result<()> {
        for address in [self.address, self.admin] {
            TcpListener::bind(address).with_context(|| {
                let port = address.rsplit(':').next().unwrap_or_default();
                format!(
                    "{} needs {address}, which is taken; `ss -ltnp 'sport = :{port}'` shows by whom",
                    self.name
                )
            })?;
        }
        Ok(())
    }

    fn start(&self, variables: &[(&str, String)], sender: Sender<Event>) -> Result<Running> {
        let program = self.program();
        let mut command = progress::bound_to_this_process(&program.to_string_lossy());
        command
            .env("LISTEN", self.address)
            .env("ADMIN_LISTEN", self.admin)
            .env("LOG_FORMAT", "text")
            // Nobody has to be told that this instance leaves.
            .env("DRAIN_DELAY", "0s")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal is for this process, which then stops both in order.
            .process_group(0);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        if let Some(errors) = child.stderr.take() {
            let name = self.name;
            thread::spawn(move || print(name, errors));
        }
        if let Some(output) = child.stdout.take() {
            let name = self.name;
            thread::spawn(move || {
                print(name, output);
                sender.send(Event::Closed(name)).ok();
            });
        }
        Ok(Running {
            name: self.name,
            child,
        })
    }

    /// Waits until the service is ready; what happened instead, if anything did.
    fn until_ready(&self, events: &Receiver<Event>) -> Result<Option<Event>> {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.is_ready()? {
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {READY_WITHIN:?}; its lines above may say why",
                    self.name
                );
            }
            match events.recv_timeout(Duration::from_millis(50)) {
                Ok(event) => return Ok(Some(event)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
        Ok(None)
    }

    fn is_ready(&self) -> Result<bool> {
        let mut check = Command::new(self.program());
        check
            .arg("healthcheck")
            .env("ADMIN_LISTEN", self.admin)
            .stderr(Stdio::null());
        Ok(check
            .status()
            .with_context(|| format!("asking {} whether it is ready", self.name))?
            .success())
    }
}

fn print(name: &str, output: impl Read) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        println!("{name} | {line}");
    }
}

struct Running {
    name: &'static str,
    child: Child,
}

impl Running {
    fn tell_to_end(&self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// Ends them in the reverse order of their start, so that `app_a`'s last requests still find `app_b`. A second signal
/// ends the patience.
fn stop(mut running: Vec<Running>, events: &Receiver<Event>) {
    while let Some(mut service) = running.pop() {
        service.tell_to_end();
        let deadline = Instant::now() + STOP_WITHIN;
        let (mut is_patient, mut is_killed) = (true, false);
        let status = loop {
            if let Some(status) = service.ended() {
                break status;
            }
            if !is_killed && (!is_patient || Instant::now() > deadline) {
                eprintln!("{} does not end: killed", service.name);
                service.child.kill().ok();
                is_killed = true;
            }
            match events.recv_timeout(Duration::from_millis(20)) {
                Ok(Event::Signal(_)) => is_patient = false,
                Ok(Event::Closed(_)) | Err(_) => {}
            }
        };
        println!("{} ended with {status}", service.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_named_with_a_way_to_its_owner() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address: &'static str = holder.local_addr().unwrap().to_string().leak();
        let service = Service {
            name: "app_a",
            address,
            admin: "127.0.0.1:0",
        };
        let message = format!("{:#}", service.check_free().unwrap_err());
        assert!(
            message.contains(address) && message.contains("ss -ltnp"),
            "{message}"
        );
    }
}
