//! The testbed: up from nothing, up again after anything, and nothing left behind.

use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use e2e::{eventually, on_failure_look_around, output, printed, succeed, xtask};
use testbed::{paths, versions};

use crate::processes::{Namespace, Process};

/// What of the machine a cluster could change, and must not.
fn machine() -> Result<String> {
    let mut seen = String::new();
    for file in [
        "/proc/self/mountinfo",
        "/proc/sys/vm/overcommit_memory",
        "/proc/sys/vm/panic_on_oom",
        "/proc/sys/kernel/panic",
        "/proc/sys/kernel/panic_on_oops",
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "/etc/hosts",
        "/etc/resolv.conf",
        "/sys/fs/cgroup/cgroup.subtree_control",
    ] {
        seen.extend([file, ":\n", &fs::read_to_string(file).unwrap_or_default(), "\n"]);
    }
    for folder in [
        "/etc",
        "/etc/cni",
        "/var/lib",
        "/var/log",
        "/run",
        "/run/netns",
        "/usr/lib",
        "/sys/class/net",
        "/sys/fs/cgroup",
    ] {
        let mut names: Vec<_> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        seen.extend([folder, ": ", &names.join(" "), "\n"]);
    }
    // Version 1 has one tree for each controller, below which a cluster's are.
    let below = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect()
    };
    let mut cgroups: Vec<_> = below(Path::new("/sys/fs/cgroup"))
        .iter()
        .flat_map(|folder| below(folder))
        .filter(|path| {
            ["testbed", "kubepods", "kubelet"]
                .iter()
                .any(|name| path.to_string_lossy().contains(name))
        })
        .collect();
    cgroups.sort();
    Ok(format!(
        "{seen}cgroups: {cgroups:?}\nprocesses: {:?}\n",
        like_a_clusters()?
    ))
}

/// Numbers and names of processes such as a cluster has, whosever they are: for comparison only.
fn like_a_clusters() -> Result<Vec<(i32, String)>> {
    const NAMES: [&str; 9] = [
        "containerd",
        "containerd-shim",
        "kubelet",
        "kubeadm",
        "etcd",
        "kube-apiserver",
        "kube-controller",
        "kube-scheduler",
        "unshare",
    ];
    Ok(Process::all()?
        .into_iter()
        .filter(|process| NAMES.iter().any(|name| process.name.starts_with(name)))
        .map(|process| (process.number, process.name))
        .collect())
}

fn up() -> Result<()> {
    succeed(&mut xtask(&["cluster", "up"])).map(drop)
}

fn down() -> Result<()> {
    succeed(&mut xtask(&["cluster", "down"])).map(drop)
}

fn node_is_ready() -> Result<()> {
    let nodes = e2e::kubectl(&["get", "nodes", "--no-headers", "--request-timeout=5s"])?;
    ensure!(nodes.contains(" Ready "), "{nodes}");
    Ok(())
}

#[test]
fn a_cluster_comes_up_once_and_goes_without_a_trace() {
    on_failure_look_around(|| {
        down()?;
        let before = machine()?;
        up()?;
        node_is_ready()?;
        let first = e2e::kubectl(&[
            "get",
            "namespace",
            "kube-system",
            "-o",
            "jsonpath={.metadata.uid}",
        ])?;
        up()?;
        let second = e2e::kubectl(&[
            "get",
            "namespace",
            "kube-system",
            "-o",
            "jsonpath={.metadata.uid}",
        ])?;
        ensure!(first == second, "the second `up` made another cluster");
        // CoreDNS is ready once it has reached the API server by its Service's address.
        for part in ["daemonset/kube-proxy", "deployment/coredns"] {
            e2e::kubectl(&[
                "rollout",
                "status",
                "--timeout=180s",
                "--namespace=kube-system",
                part,
            ])?;
        }
        let inside = succeed(&mut xtask(&["cluster", "exec", "--", "ip", "route"]))?;
        ensure!(
            inside.contains("default dev node0"),
            "the cluster's network has a way out: {inside}"
        );
        down()?;
        let after = machine()?;
        ensure!(
            before == after,
            "the machine changed.\nbefore:\n{before}\nafter:\n{after}"
        );
        ensure!(
            !paths::state().exists(),
            "{} is still there",
            paths::state().display()
        );
        Ok(())
    });
}

#[test]
fn a_killed_part_is_no_reason_for_help_by_hand() {
    on_failure_look_around(|| {
        up()?;
        for part in ["containerd", "kubelet"] {
            Namespace::of_the_cluster()?.kill_all(part)?;
            up()?;
            eventually(&format!("the node, after kill -9 of {part}"), node_is_ready)?;
        }
        // The first process takes everything with it.
        let namespace = Namespace::of_the_cluster()?;
        namespace.kill_the_maker()?;
        eventually("the end of everything after kill -9", || namespace.is_empty())?;
        up()?;
        node_is_ready()
    });
}

#[test]
fn a_command_that_is_killed_halfway_leaves_nothing_running() {
    on_failure_look_around(|| {
        down()?;
        let mut command = xtask(&["cluster", "up"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let namespace = eventually("kubeadm at work", || {
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
        eventually("the end of everything after kill -9 of `cluster up`", || {
            namespace.is_empty()
        })?;
        up()?;
        node_is_ready()
    });
}

#[test]
fn an_owned_cluster_ends_with_its_owner() {
    on_failure_look_around(|| {
        down()?;
        // In place of the one that `cargo xtask test` holds and has named in our environment.
        let owner = tempfile::NamedTempFile::new()?;
        owner.as_file().lock()?;
        succeed(xtask(&["cluster", "up"]).env(paths::OWNER, owner.path()))?;
        node_is_ready()?;
        let namespace = Namespace::of_the_cluster()?;
        ensure!(!namespace.processes()?.is_empty(), "the cluster has no processes");
        // As the kernel does when an owner ends.
        owner.as_file().unlock()?;
        eventually("the end of everything after the owner's", || namespace.is_empty())?;
        up()?;
        node_is_ready()
    });
}

#[test]
fn more_connections_are_forwarded_than_a_shell_may_open_files() {
    on_failure_look_around(|| {
        down()?;
        let mut shell = std::process::Command::new("sh");
        shell
            .current_dir(paths::workspace())
            .args(["-c", r#"ulimit -S -n 256 && exec "$0" cluster up"#])
            .arg(xtask(&[]).get_program());
        succeed(&mut shell)?;
        let connections = (0..400)
            .map(|_| TcpStream::connect("127.0.0.1:6443"))
            .collect::<Result<Vec<_>, _>>()?;
        eventually("kubectl is answered beside 400 open connections", node_is_ready)?;
        for connection in &connections {
            connection.set_nonblocking(true)?;
            // The API server says nothing before it is spoken to.
            let seen = connection.peek(&mut [0]).map_err(|error| error.kind());
            ensure!(
                seen == Err(ErrorKind::WouldBlock),
                "a connection was closed: {seen:?}"
            );
        }
        Ok(())
    });
}

/// What `cluster up` says, and its exit code, when the machine lacks something.
fn refusal(prepare: impl FnOnce(&mut std::process::Command)) -> Result<String> {
    let mut command = xtask(&["cluster", "up"]);
    prepare(&mut command);
    let output = output(&mut command)?;
    if output.status.success() {
        bail!("`cluster up` went on: {}", printed(&output));
    }
    Ok(printed(&output))
}

#[test]
fn what_the_machine_lacks_is_said_with_what_to_do_instead() {
    on_failure_look_around(|| {
        down()?;
        let taken = TcpListener::bind("127.0.0.1:30080").context("port 30080")?;
        let said = refusal(|_| ())?;
        ensure!(said.contains("30080") && said.contains("--context"), "{said}");
        drop(taken);

        // A copy that anybody may run: folders above the original may be closed to others.
        let folder = tempfile_for_everyone()?;
        let program = folder.join("xtask");
        fs::copy(xtask(&[]).get_program(), &program)?;
        let mut unprivileged = std::process::Command::new(&program);
        unprivileged
            .args(["cluster", "up"])
            .uid(65_534)
            .gid(65_534)
            .current_dir("/");
        let said = printed(&output(&mut unprivileged)?);
        fs::remove_dir_all(&folder)?;
        ensure!(said.contains("root") && said.contains("cargo xtask up"), "{said}");

        let said = refusal(|command| {
            command.env("PATH", "/usr/sbin:/sbin");
        })?;
        ensure!(said.contains("Go") && said.contains("--context"), "{said}");
        Ok(())
    });
}

fn tempfile_for_everyone() -> Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("testbed-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(folder)
}

#[test]
fn the_other_commands_say_where_everything_is() {
    on_failure_look_around(|| {
        down()?;
        for (arguments, advice) in [
            (vec!["cluster", "status"], "cargo xtask cluster up"),
            (vec!["k", "get", "nodes"], "cargo xtask cluster up"),
            (vec!["cluster", "exec", "--", "true"], "cargo xtask cluster up"),
        ] {
            let output = output(&mut xtask(&arguments))?;
            let said = printed(&output);
            ensure!(
                !output.status.success() && said.contains(advice),
                "{arguments:?} without a cluster: {}, {said}",
                output.status
            );
        }
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
            ensure!(log.contains(&line), "no {line:?} in its log: {log}");
        }
        let said = printed(&output(&mut xtask(&["cluster", "logs", "nothing"]))?);
        ensure!(said.contains("kubelet"), "the logs that there are: {said}");
        let code = output(&mut xtask(&["cluster", "exec", "--", "sh", "-c", "exit 7"]))?.status;
        ensure!(code.code() == Some(7), "exit 7 became {code}");
        Ok(())
    });
}

#[test]
fn a_warm_start_is_reported_with_its_time() {
    on_failure_look_around(|| {
        down()?;
        let output = output(&mut xtask(&["cluster", "up"]))?;
        let said = printed(&output);
        ensure!(output.status.success(), "{said}");
        let seconds: f64 = said
            .split_once("up after ")
            .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok())
            .context("no time in what it printed")?;
        println!("warm start: {seconds} s");
        // 30 s is the aim on an idle machine (16 to 18 s measured); this is for one that is anything but.
        ensure!(
            seconds < Duration::from_mins(3).as_secs_f64(),
            "a warm start took {seconds} s"
        );
        Ok(())
    });
}
