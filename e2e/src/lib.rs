//! What the tests on a cluster share: commands, HTTP requests, deadlines, and diagnostics after a failure.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{cluster, command, paths, wait};
use wiring::ROLLOUTS;

/// A deadline for operations that take seconds on an idle machine, and longer on a busy one.
pub const DEADLINE: Duration = Duration::from_mins(4);

/// The deadline of a command. Commands that wait for something give up after at most 4 minutes and say what is missing.
/// nextest kills a test after 5 minutes, without diagnostics.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(270);

/// The deadline of `loadtest scale`, and of a command that runs it. Its phases have deadlines of about 9 minutes together.
pub const PROOF_DEADLINE: Duration = Duration::from_mins(12);

/// The deadline of each command that prints diagnostics after a failure. The API server may be the reason of the failure.
const DIAGNOSTICS_DEADLINE: Duration = Duration::from_secs(15);

/// The overlay that the tests deploy, below the root of the workspace.
pub const OVERLAY: &str = "kubernetes/overlays/local";

/// A change of the manifests: a file below `kubernetes`, a text in this file, and its replacement.
pub type Change<'a> = (&'a str, &'a str, &'a str);

/// Makes the adapter's certificate valid for two minutes. Its renewal is due after 72 to 84 s.
pub const SHORT_CERTIFICATE: Change<'_> = (
    "components/custom-metrics/adapter/deployment.yaml",
    "value: 30days",
    "value: 2m",
);

/// The value of an environment variable that `cargo xtask test` sets, as a path.
fn from_xtask(variable: &str) -> PathBuf {
    env::var_os(variable)
        .unwrap_or_else(|| {
            panic!("{variable} is not set: run these tests with `cargo xtask test --suite NAME`")
        })
        .into()
}

/// `cargo xtask`, without a build.
///
/// # Panics
/// When the test was not started by `cargo xtask test`.
#[must_use]
pub fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(from_xtask("XTASK"));
    command.current_dir(paths::workspace()).args(arguments);
    command
}

/// The load generator, with the kubeconfig of the testbed.
///
/// # Panics
/// When the test was not started by `cargo xtask test`.
#[must_use]
pub fn loadtest(arguments: &[&str]) -> Command {
    let mut command = Command::new(from_xtask("LOADTEST"));
    command
        .current_dir(paths::workspace())
        .env("KUBECONFIG", paths::kubeconfig())
        .args(arguments);
    command
}

/// The archive of one of this project's images.
///
/// # Panics
/// When the test was not started by `cargo xtask test`.
#[must_use]
pub fn image(name: &str) -> PathBuf {
    from_xtask("IMAGES").join(format!("{name}.tar"))
}

/// How many times each scaling proof runs: three times in `cargo xtask test --soak`, otherwise once.
#[must_use]
pub fn rounds() -> u32 {
    if env::var_os("SOAK").is_some() { 3 } else { 1 }
}

/// Runs a command until it exits.
///
/// # Errors
/// When the command cannot be started, or does not exit within [`COMMAND_DEADLINE`]. The message then contains what it
/// printed until then.
pub fn output(command: &mut Command) -> Result<Output> {
    command::output(command, COMMAND_DEADLINE)
}

/// Runs a command that must succeed, and returns its standard output.
///
/// # Errors
/// When the command fails, or does not exit within [`COMMAND_DEADLINE`]. The message contains its output.
pub fn succeed(command: &mut Command) -> Result<String> {
    succeed_within(COMMAND_DEADLINE, command)
}

/// As [`succeed`], with another deadline.
///
/// # Errors
/// When the command fails, or does not exit before the deadline. The message contains its output.
pub fn succeed_within(deadline: Duration, command: &mut Command) -> Result<String> {
    let output = command::output(command, deadline)?;
    if !output.status.success() {
        bail!("{command:?} failed: {}\n{}", output.status, text(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Standard output and standard error of a command.
#[must_use]
pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Runs kubectl on the testbed, as a user does, and returns its standard output.
///
/// # Errors
/// When kubectl fails, or does not exit within a minute.
pub fn kubectl(arguments: &[&str]) -> Result<String> {
    kubectl_within(Duration::from_mins(1), arguments)
}

/// As [`kubectl`], with a deadline for commands that wait for something. The deadline must exceed a `--timeout` of kubectl, so
/// that kubectl can say what is missing.
///
/// # Errors
/// When kubectl fails, or does not exit before the deadline.
pub fn kubectl_within(deadline: Duration, arguments: &[&str]) -> Result<String> {
    let mut kubectl = cluster::kubectl();
    succeed_within(deadline, kubectl.current_dir(paths::workspace()).args(arguments))
}

/// Applies manifests from memory.
///
/// # Errors
/// When the API server rejects one, or kubectl does not exit within a minute.
pub fn apply(manifests: &str) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(manifests.as_bytes())?;
    kubectl(&["apply", "-f", &file.path().display().to_string()]).map(drop)
}

/// Starts the cluster if necessary, deploys the local overlay unchanged, and waits until every Deployment is ready.
///
/// # Errors
/// When a Deployment does not become ready.
pub fn deploy() -> Result<()> {
    start_cluster()?;
    apply_overlay()
}

/// As [`deploy`], with changed manifests.
///
/// # Errors
/// When a Deployment does not become ready.
pub fn deploy_changed(change: Change<'_>) -> Result<()> {
    start_cluster()?;
    apply_changed(&[change])
}

/// Starts the cluster if necessary, and imports the images of the pair that the node does not have.
fn start_cluster() -> Result<()> {
    succeed(&mut xtask(&["cluster", "up"]))?;
    let archives = ["app-a", "app-b", "serving-cert"].map(image);
    succeed(xtask(&["cluster", "load"]).args(archives)).map(drop)
}

/// Applies the local overlay unchanged on a running cluster, and waits until every Deployment is ready.
///
/// # Errors
/// When a Deployment does not become ready.
pub fn apply_overlay() -> Result<()> {
    kubectl(&["apply", "-k", OVERLAY])?;
    wait_for_rollouts()
}

/// Applies a copy of the manifests with changes, and waits until every Deployment is ready.
///
/// # Errors
/// When a text to change is missing, or a Deployment does not become ready.
pub fn apply_changed(changes: &[Change<'_>]) -> Result<()> {
    let copy = tempfile::tempdir()?;
    copy_folder(&paths::workspace().join("kubernetes"), copy.path())?;
    for (file, from, to) in changes {
        let path = copy.path().join(file);
        let manifest = fs::read_to_string(&path).with_context(|| (*file).to_owned())?;
        ensure!(
            manifest.contains(from),
            "{file} does not contain {from:?}: the test is out of date"
        );
        fs::write(&path, manifest.replace(from, to))?;
    }
    let overlay = copy.path().join("overlays/local");
    kubectl(&["apply", "-k", &overlay.display().to_string()])?;
    wait_for_rollouts()
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Waits until every Deployment of the overlay is ready.
///
/// # Errors
/// When a Deployment is not ready within four minutes.
pub fn wait_for_rollouts() -> Result<()> {
    for rollout in ROLLOUTS {
        let deployment = format!("deployment/{}", rollout.deployment);
        let namespace = rollout.namespace;
        kubectl_within(
            COMMAND_DEADLINE,
            &[
                "rollout",
                "status",
                "--timeout=240s",
                "--namespace",
                namespace,
                &deployment,
            ],
        )?;
    }
    Ok(())
}

/// Waits until every link of the metrics chain holds.
///
/// # Errors
/// When a link is still broken after three minutes. The message contains the state of each link.
pub fn wait_for_chain() -> Result<()> {
    succeed(&mut loadtest(&["chain", "--wait", "180s"])).map(drop)
}

/// Sends one HTTP/1.1 request on a new connection, and returns status line, headers and body of the response.
///
/// # Errors
/// When the server cannot be reached, has not sent the whole response after 20 s, or closes the connection without a response.
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<String> {
    const TIMEOUT: Duration = Duration::from_secs(20);
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    let exchange = || -> Result<String> {
        let end = Instant::now() + TIMEOUT;
        let mut connection = TcpStream::connect_timeout(&address, TIMEOUT)?;
        connection.set_write_timeout(Some(TIMEOUT))?;
        connection.write_all(format!("{request}\r\n").as_bytes())?;
        let (mut response, mut buffer) = (Vec::new(), [0; 8192]);
        loop {
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "not the whole response within {TIMEOUT:?}: {}",
                String::from_utf8_lossy(&response)
            );
            connection.set_read_timeout(Some(left))?;
            match connection.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => response.extend_from_slice(&buffer[..length]),
                // The deadline.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        ensure!(!response.is_empty(), "connection closed without a response");
        Ok(String::from_utf8(response)?)
    };
    exchange().with_context(|| format!("{method} http://{address}{path}"))
}

/// Polls a condition until it holds, and returns its value.
///
/// # Errors
/// When the condition does not hold within [`DEADLINE`]. The message contains its last error.
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Result<T>) -> Result<T> {
    wait::until(what, DEADLINE, condition)
}

/// Runs the body of a test. If it fails, prints the objects, events and logs of the cluster before the panic.
///
/// # Panics
/// When the body fails.
pub fn with_diagnostics(body: impl FnOnce() -> Result<()>) {
    if let Err(error) = body() {
        for arguments in [
            "get pods,hpa,deployments,apiservices -A -o wide",
            "get events -A --sort-by=.lastTimestamp",
            "-n sample-app describe hpa",
            "-n monitoring logs deployment/prometheus-adapter --all-containers --tail=40",
            "-n monitoring logs deployment/prometheus --tail=40",
            "-n sample-app logs -l app.kubernetes.io/name=app-a --tail=20 --prefix",
            "-n sample-app logs -l app.kubernetes.io/name=app-b --tail=20 --prefix",
        ] {
            let words: Vec<_> = arguments.split(' ').collect();
            let text =
                kubectl_within(DIAGNOSTICS_DEADLINE, &words).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- kubectl {arguments}\n{last}");
        }
        panic!("{error:#}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_hangs_ends_at_its_deadline_with_its_output() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo waiting for the API server; exec sleep 600"]);
        let start = Instant::now();
        let error = succeed_within(Duration::from_secs(1), &mut command).unwrap_err();
        let error = error.to_string();
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        assert!(
            error.contains("sleep 600") && error.contains("waiting for the API server"),
            "{error}"
        );
    }

    #[test]
    fn a_response_that_does_not_end_fails_at_the_deadline() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        // Sends a byte each second, so that no single read takes long.
        std::thread::spawn(move || {
            let (mut connection, _) = server.accept().unwrap();
            while connection.write_all(b".").is_ok() {
                wait::pause(Duration::from_secs(1));
            }
        });
        let start = Instant::now();
        let error = request(address, "GET", "/", &[]).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(40), "{:?}", start.elapsed());
        assert!(
            format!("{error:#}").contains("not the whole response"),
            "{error:#}"
        );
    }
}
