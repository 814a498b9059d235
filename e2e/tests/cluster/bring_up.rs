//! The testbed starts, recovers from kills, explains what a machine lacks, and leaves nothing behind.
//!
//! Tests that need no special cluster use the running one, so that the suite starts few clusters.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{
    COMMAND_DEADLINE, eventually, kubectl, kubectl_within, output, succeed, text, with_diagnostics, xtask,
};
use testbed::{paths, versions};

use crate::machine::machine_state;
use crate::processes::Namespace;

fn up() -> Result<()> {
    succeed(&mut xtask(&["cluster", "up"])).map(drop)
}

fn down() -> Result<()> {
    succeed(&mut xtask(&["cluster", "down"])).map(drop)
}

fn node_is_ready() -> Result<()> {
    let nodes = kubectl(&["get", "nodes", "--no-headers", "--request-timeout=5s"])?;
    ensure!(nodes.contains(" Ready "), "{nodes}");
    Ok(())
}

/// `cluster up` in a shell that may open only 256 files. Returns what it prints.
fn up_with_few_open_files() -> Result<String> {
    let mut shell = std::process::Command::new("sh");
    shell
        .current_dir(paths::workspace())
        .args(["-c", r#"ulimit -S -n 256 && exec "$0" cluster up"#])
        .arg(xtask(&[]).get_program());
    let output = output(&mut shell)?;
    ensure!(output.status.success(), "{}", text(&output));
    Ok(text(&output))
}

/// The forwarder of the API server holds 400 connections open, and still serves another client.
fn forwards_400_connections() -> Result<()> {
    let server = "127.0.0.1:6443".parse()?;
    let connections = (0..400)
        .map(|_| TcpStream::connect_timeout(&server, Duration::from_secs(20)))
        .collect::<Result<Vec<_>, _>>()?;
    eventually("kubectl works while 400 connections are open", node_is_ready)?;
    for connection in &connections {
        connection.set_nonblocking(true)?;
        // The API server sends nothing before the client does.
        let state = connection.peek(&mut [0]).map_err(|error| error.kind());
        ensure!(
            state == Err(ErrorKind::WouldBlock),
            "a connection was closed: {state:?}"
        );
    }
    Ok(())
}

/// The seconds that `cluster up` says it took.
fn reported_seconds(printed: &str) -> Result<f64> {
    printed
        .split_once("up after ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
        .with_context(|| format!("`cluster up` printed no time: {printed}"))
}

fn cluster_uid() -> Result<String> {
    kubectl(&[
        "get",
        "namespace",
        "kube-system",
        "-o",
        "jsonpath={.metadata.uid}",
    ])
}

#[test]
fn a_cluster_starts_once_and_leaves_no_trace() {
    with_diagnostics(|| {
        down()?;
        let before = machine_state()?;
        // The limit of the shell must not limit the forwarder.
        let seconds = reported_seconds(&up_with_few_open_files()?)?;
        println!("warm start: {seconds} s");
        // The aim is 30 s on an idle machine (measured: 16 to 18 s). The bound is for a busy machine.
        ensure!(
            seconds < Duration::from_mins(3).as_secs_f64(),
            "a warm start took {seconds} s"
        );
        node_is_ready()?;
        let first = cluster_uid()?;
        up()?;
        ensure!(
            first == cluster_uid()?,
            "the second `cluster up` created another cluster"
        );
        // CoreDNS becomes ready when it reaches the API server through its Service.
        for part in ["daemonset/kube-proxy", "deployment/coredns"] {
            kubectl_within(
                COMMAND_DEADLINE,
                &[
                    "rollout",
                    "status",
                    "--timeout=180s",
                    "--namespace=kube-system",
                    part,
                ],
            )?;
        }
        let routes = succeed(&mut xtask(&["cluster", "exec", "--", "ip", "route"]))?;
        ensure!(
            routes.contains("default dev node0"),
            "the cluster's network has a route out of the machine: {routes}"
        );
        forwards_400_connections()?;
        down()?;
        let after = machine_state()?;
        ensure!(
            before == after,
            "the machine changed.\nbefore:\n{before}\nafter:\n{after}"
        );
        ensure!(
            !paths::state().exists(),
            "{} still exists",
            paths::state().display()
        );
        Ok(())
    });
}

#[test]
fn a_cluster_recovers_from_killed_processes() {
    with_diagnostics(|| {
        up()?;
        for part in ["containerd", "kubelet"] {
            Namespace::of_the_cluster()?.kill_all(part)?;
            up()?;
            eventually(
                &format!("the node is Ready after kill -9 of {part}"),
                node_is_ready,
            )?;
        }
        // `unshare --kill-child` kills the first process when it is killed itself. The kernel then kills all others.
        let namespace = Namespace::of_the_cluster()?;
        namespace.kill_unshare()?;
        eventually("no process is left after kill -9 of unshare", || {
            namespace.is_empty()
        })?;
        up()?;
        node_is_ready()
    });
}

#[test]
fn a_killed_start_leaves_no_process_and_the_next_one_succeeds() {
    with_diagnostics(|| {
        down()?;
        let mut command = xtask(&["cluster", "up"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let namespace = eventually("kubeadm is running", || {
            let namespace = Namespace::of_the_cluster()?;
            let processes = namespace.processes()?;
            ensure!(
                processes.iter().any(|process| process.name == "kubeadm"),
                "no kubeadm yet"
            );
            Ok(namespace)
        })?;
        child.kill()?;
        child.wait()?;
        eventually("no process is left after kill -9 of `cluster up`", || {
            namespace.is_empty()
        })?;
        up()?;
        node_is_ready()
    });
}

#[test]
fn an_owned_cluster_stops_with_its_owner() {
    with_diagnostics(|| {
        down()?;
        // Replaces the owner that `cargo xtask test` named in the environment.
        let owner = tempfile::NamedTempFile::new()?;
        owner.as_file().lock()?;
        succeed(xtask(&["cluster", "up"]).env(paths::OWNER_VARIABLE, owner.path()))?;
        node_is_ready()?;
        let namespace = Namespace::of_the_cluster()?;
        ensure!(!namespace.processes()?.is_empty(), "the cluster has no processes");
        // The kernel unlocks the file when an owner exits.
        owner.as_file().unlock()?;
        eventually("no process is left after the owner's exit", || {
            namespace.is_empty()
        })?;
        up()?;
        node_is_ready()
    });
}

/// What `cluster up` prints when it rejects the machine.
fn rejection(prepare: impl FnOnce(&mut std::process::Command)) -> Result<String> {
    let mut command = xtask(&["cluster", "up"]);
    prepare(&mut command);
    let output = output(&mut command)?;
    if output.status.success() {
        bail!("`cluster up` succeeded: {}", text(&output));
    }
    Ok(text(&output))
}

#[test]
fn without_a_cluster_each_command_says_what_is_missing_and_what_to_do() {
    with_diagnostics(|| {
        down()?;
        for arguments in [
            ["cluster", "status"].as_slice(),
            &["k", "get", "nodes"],
            &["cluster", "exec", "--", "true"],
        ] {
            let output = output(&mut xtask(arguments))?;
            let printed = text(&output);
            ensure!(
                !output.status.success() && printed.contains("cargo xtask cluster up"),
                "{arguments:?} without a cluster: {}, {printed}",
                output.status
            );
        }

        let taken = TcpListener::bind("127.0.0.1:30080").context("port 30080")?;
        let printed = rejection(|_| ())?;
        ensure!(
            printed.contains("30080") && printed.contains("--context"),
            "{printed}"
        );
        drop(taken);

        // A copy that every user can execute: other users may have no access to the folder of the original.
        let folder = folder_for_everyone()?;
        let program = folder.join("xtask");
        fs::copy(xtask(&[]).get_program(), &program)?;
        let mut unprivileged = std::process::Command::new(&program);
        unprivileged
            .args(["cluster", "up"])
            .uid(65_534)
            .gid(65_534)
            .current_dir("/");
        let printed = text(&output(&mut unprivileged)?);
        fs::remove_dir_all(&folder)?;
        ensure!(
            printed.contains("root") && printed.contains("cargo xtask up"),
            "{printed}"
        );

        let printed = rejection(|command| {
            command.env("PATH", "/usr/sbin:/sbin");
        })?;
        ensure!(
            printed.contains("Go") && printed.contains("--context"),
            "{printed}"
        );
        Ok(())
    });
}

fn folder_for_everyone() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("testbed-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(folder)
}

#[test]
fn the_commands_show_the_cluster_and_where_its_files_are() {
    with_diagnostics(|| {
        up()?;
        let status = succeed(&mut xtask(&["cluster", "status"]))?;
        for part in [
            versions::kubernetes(),
            "kubeconfig",
            "127.0.0.1:30080 ->",
            "node/testbed",
        ] {
            ensure!(status.contains(part), "no {part}: {status}");
        }
        let kubeconfig = succeed(&mut xtask(&["cluster", "kubeconfig"]))?;
        let kubeconfig = fs::read_to_string(kubeconfig.trim())?;
        ensure!(kubeconfig.contains("https://127.0.0.1:6443"), "{kubeconfig}");
        let nodes = succeed(&mut xtask(&["k", "get", "nodes", "-o", "name"]))?;
        ensure!(nodes.trim() == "node/testbed", "{nodes}");
        for (log, line) in [
            ("kubelet", "Started kubelet".to_owned()),
            (
                "kubeadm",
                format!("Using Kubernetes version: {}", versions::kubernetes()),
            ),
        ] {
            let log = succeed(&mut xtask(&["cluster", "logs", log]))?;
            ensure!(log.contains(&line), "no {line:?} in the log: {log}");
        }
        let printed = text(&output(&mut xtask(&["cluster", "logs", "nothing"]))?);
        ensure!(printed.contains("kubelet"), "no list of the logs: {printed}");
        let status = output(&mut xtask(&["cluster", "exec", "--", "sh", "-c", "exit 7"]))?.status;
        ensure!(status.code() == Some(7), "expected exit code 7: {status}");
        Ok(())
    });
}
