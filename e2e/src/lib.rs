//! What the tests on a cluster share: its commands, and a look at everything when one of them fails.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use testbed::{cluster, paths, wait};

/// A deadline for what takes seconds on an idle machine, and more on a busy one.
pub const GENEROUS: Duration = Duration::from_mins(4);

/// `cargo xtask` without a build in between; `cargo xtask test` says where it is.
#[must_use]
pub fn xtask(arguments: &[&str]) -> Command {
    let program =
        std::env::var_os("XTASK").map_or_else(|| paths::target().join("debug/xtask"), PathBuf::from);
    let mut command = Command::new(program);
    command.current_dir(paths::workspace()).args(arguments);
    command
}

/// The load generator, on the testbed; `cargo xtask test` says where it is, too.
///
/// # Panics
/// When neither that nor `rustc` does.
#[must_use]
pub fn loadtest(arguments: &[&str]) -> Command {
    let built = || {
        paths::own_programs()
            .expect("rustc names this machine")
            .join("loadtest")
    };
    let program = std::env::var_os("LOADTEST").map_or_else(built, PathBuf::from);
    let mut command = Command::new(program);
    command
        .current_dir(paths::workspace())
        .env("KUBECONFIG", paths::kubeconfig())
        .args(arguments);
    command
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started.
pub fn output(command: &mut Command) -> Result<Output> {
    command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))
}

/// Runs a command that has to succeed, and gives its standard output.
///
/// # Errors
/// When it fails, with everything that it printed.
pub fn succeed(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{command:?}\nended with {}:\n{}", output.status, printed(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Both streams of a command that has ended.
#[must_use]
pub fn printed(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// kubectl, as a user runs it.
///
/// # Errors
/// When it fails.
pub fn kubectl(arguments: &[&str]) -> Result<String> {
    succeed(cluster::kubectl().current_dir(paths::workspace()).args(arguments))
}

/// Applies manifests from memory.
///
/// # Errors
/// When the API server refuses one.
pub fn apply(manifests: &str) -> Result<()> {
    let mut child = cluster::kubectl()
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("no pipe to kubectl")?
        .write_all(manifests.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("kubectl apply: {}", printed(&output));
    }
    Ok(())
}

/// The local overlay as it is applied.
///
/// # Errors
/// When it does not build.
pub fn rendered() -> Result<String> {
    kubectl(&["kustomize", "kubernetes/overlays/local"])
}

/// A cluster with the local overlay on it, unchanged, and everything ready.
///
/// # Errors
/// When a part does not become ready.
pub fn deployed() -> Result<()> {
    succeed(&mut xtask(&["cluster", "up"]))?;
    let archives = ["app-a", "app-b", "serving-cert"].map(|name| {
        paths::own_images()
            .join(format!("{name}.tar"))
            .display()
            .to_string()
    });
    let mut load = xtask(&["cluster", "load"]);
    succeed(load.args(&archives))?;
    kubectl(&["apply", "-k", "kubernetes/overlays/local"])?;
    rolled_out()
}

/// One HTTP/1.1 exchange on a connection of its own: status line, headers and body of the answer, as they come.
///
/// # Errors
/// When the server cannot be reached, does not answer in time, or closes the connection without an answer.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Result<String> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([name, ": ", value, "\r\n"]);
    }
    let exchange = || -> Result<String> {
        let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
        connection.set_read_timeout(Some(PATIENCE))?;
        connection.set_write_timeout(Some(PATIENCE))?;
        connection.write_all(format!("{request}\r\n").as_bytes())?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        ensure!(!answer.is_empty(), "closed without an answer");
        Ok(answer)
    };
    exchange().with_context(|| format!("{method} http://{address}{path}"))
}

/// Waits for every Deployment.
///
/// # Errors
/// When one does not become ready in time.
pub fn rolled_out() -> Result<()> {
    for (namespace, name) in [
        ("monitoring", "prometheus"),
        ("monitoring", "prometheus-adapter"),
        ("sample-app", "app-b"),
        ("sample-app", "app-a"),
    ] {
        let name = format!("deployment/{name}");
        kubectl(&[
            "rollout",
            "status",
            "--timeout=240s",
            "--namespace",
            namespace,
            &name,
        ])?;
    }
    Ok(())
}

/// Waits until the chain of metrics is whole from end to end.
///
/// # Errors
/// When it is not within the deadline, with the links.
pub fn chain_is_whole() -> Result<()> {
    succeed(&mut loadtest(&["chain", "--wait", "180s"])).map(drop)
}

/// Looks at a condition until it holds, and gives what it found.
///
/// # Errors
/// When the deadline passes first.
pub fn eventually<T>(what: &str, condition: impl FnMut() -> Result<T>) -> Result<T> {
    wait::until(what, GENEROUS, condition)
}

/// Runs a test's body; when it fails, prints what the cluster looks like before it panics.
///
/// # Panics
/// When the body fails.
pub fn on_failure_look_around(body: impl FnOnce() -> Result<()>) {
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
            let text = kubectl(&words).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<_> = text.lines().collect();
            let last = lines[lines.len().saturating_sub(60)..].join("\n");
            eprintln!("--- kubectl {arguments}\n{last}");
        }
        panic!("{error:#}");
    }
}
