//! `cargo xtask up`: runs the pair on this machine without a cluster, until Ctrl-C.

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

/// How long a service may take to start on a busy machine.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// How long a service may take to shut down before it is killed. Longer than its `DRAIN_DEADLINE` of 15 s.
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

/// An event while the pair is running.
enum Event {
    Signal(Signal),
    /// A service closed its output because it exited.
    Closed(&'static str),
}

/// Builds the pair, runs it until Ctrl-C or SIGTERM, and stops it.
///
/// # Errors
/// When an address is in use, a build fails, or a service exits by itself.
pub(crate) fn run() -> Result<ExitCode> {
    for service in [&APP_B, &APP_A] {
        service.check_free()?;
    }
    build()?;

    let (sender, events) = channel();
    watch_signals(sender.clone())?;
    let mut running = Vec::new();
    let outcome = serve(&mut running, &sender, &events);
    stop(running, &events);
    outcome
}

/// Builds the pair.
///
/// # Errors
/// When the build fails.
pub(crate) fn build() -> Result<()> {
    let mut build = cargo::command(&["build", "--locked", "--package", "app_a", "--package", "app_b"]);
    progress::step("build app_a and app_b", || progress::run(&mut build).map(drop))
}

fn serve(running: &mut Vec<Running>, sender: &Sender<Event>, events: &Receiver<Event>) -> Result<ExitCode> {
    let database = paths::target().join("up/app_b.db");
    fs::create_dir_all(paths::target().join("up"))?;
    let database_url = format!("sqlite://{}", database.display());
    for (service, variables) in [
        (
            &APP_B,
            vec![("DATABASE_URL", database_url), ("DEMO_USERS", "true".to_owned())],
        ),
        (&APP_A, vec![("APP_B_URL", format!("http://{}", APP_B.address))]),
    ] {
        running.push(service.start(&variables, sender.clone())?);
        match service.wait_until_ready(events)? {
            Some(Event::Signal(_)) => return Ok(ExitCode::SUCCESS),
            Some(Event::Closed(name)) => {
                bail!("{name} exited before it was ready; its log above says why")
            }
            None => {}
        }
    }
    println!("{}", instructions(&database.display().to_string()));
    match events.recv().context("no service is watched")? {
        Event::Signal(signal) => {
            println!("{signal}: stopping both services");
            Ok(ExitCode::SUCCESS)
        }
        Event::Closed(name) => bail!("{name} exited by itself; its log above says why"),
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

/// Turns SIGINT and SIGTERM into events. The signals are caught, not blocked, because a child process would inherit the
/// block and not receive SIGTERM.
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
                    "{} needs {address}, which is in use; `ss -ltnp 'sport = :{port}'` shows the process",
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
            // No load balancer must first learn that this instance is shutting down.
            .env("DRAIN_DELAY", "0s")
            .envs(variables.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal must reach only this process, which then stops both services in order.
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

    /// Waits until the service is ready. Returns the event that came first, if one did.
    fn wait_until_ready(&self, events: &Receiver<Event>) -> Result<Option<Event>> {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.is_ready()? {
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready after {READY_WITHIN:?}; its log above may say why",
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
            .with_context(|| format!("cannot run the healthcheck of {}", self.name))?
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
    fn terminate(&self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
    }

    fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }
}

/// Stops the services in the reverse order of their start, so that the last requests of `app_a` still reach `app_b`. A
/// second signal kills them.
fn stop(mut running: Vec<Running>, events: &Receiver<Event>) {
    while let Some(mut service) = running.pop() {
        service.terminate();
        let deadline = Instant::now() + STOP_WITHIN;
        let (mut may_drain, mut is_killed) = (true, false);
        let status = loop {
            if let Some(status) = service.exit_status() {
                break status;
            }
            if !is_killed && (!may_drain || Instant::now() > deadline) {
                eprintln!("{} did not shut down in time: killed", service.name);
                service.child.kill().ok();
                is_killed = true;
            }
            match events.recv_timeout(Duration::from_millis(20)) {
                Ok(Event::Signal(_)) => may_drain = false,
                Ok(Event::Closed(_)) | Err(_) => {}
            }
        };
        println!("{} stopped: {status}", service.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_is_named_with_a_command_that_finds_its_process() {
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
