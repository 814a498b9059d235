//! The commands of the testbed: up, down, load, exec, status, logs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::nodes::{Machine, cpu_quantity, reserved_cpu};
use crate::sandbox::Sandbox;
use crate::{cgroup, components, images, import, kubeadm, paths, preflight, progress, versions, wait};

/// How long the node may take to become Ready. A warm start aims at 30 s. The rest is for a busy machine.
const NODE_READY: Duration = Duration::from_mins(3);
/// How long a running cluster may take to become Ready before `up` replaces it.
const RECOVERY: Duration = Duration::from_mins(1);
/// The deadline of kubectl, which itself ends a request after 5 s, and of other commands that only read.
const READ: Duration = Duration::from_secs(15);
/// The deadline of `kubeadm init`, which takes less than a minute on an idle machine.
const INIT: Duration = Duration::from_mins(10);

/// Starts the cluster, unless it is up and healthy.
///
/// `cpu_millis` is the CPU time that the first node offers to pods, in thousandths of a CPU. `None`: the whole machine, or what a
/// running cluster offers.
///
/// Returns the lock of `cluster up`: another `cluster up` waits until the file is closed.
///
/// # Errors
/// When the machine does not meet a requirement: the message says what to do. When a step fails: the message contains
/// the end of its output.
pub fn up(cpu_millis: Option<u64>) -> Result<File> {
    preflight::check_machine()?;
    if let Some(cpu_millis) = cpu_millis {
        reserved_cpu(cpu_millis, Machine::read()?).context("the first node")?;
    }
    fs::create_dir_all(paths::cache()).context("cannot create target/testbed")?;
    let up_lock = File::create(paths::cache().with_extension("up.lock"))?;
    match up_lock.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            eprintln!("another `cluster up` is running, waiting until it exits");
            up_lock.lock().context("cannot wait for another `cluster up`")?;
        }
        Err(fs::TryLockError::Error(error)) => return Err(error).context("cannot lock `cluster up`"),
    }
    let start = Instant::now();
    if Sandbox::find()?.is_some() {
        match wait::until("the running cluster is Ready", RECOVERY, node_is_ready) {
            Ok(()) => {
                check_cpu(cpu_millis)?;
                eprintln!("the cluster is already up");
                return Ok(up_lock);
            }
            Err(error) => {
                eprintln!("the running cluster is not healthy, replacing it ({error:#})");
                // It may have stopped in the meantime.
                if let Some(sandbox) = Sandbox::find()? {
                    sandbox.kill()?;
                }
                // The ports become free a moment after the lock. The next check reports a port that stays in use.
                let _ = wait::until(
                    "the ports are free",
                    Duration::from_secs(5),
                    preflight::check_ports_and_disk,
                );
            }
        }
    }
    preflight::check_ports_and_disk()?;
    remove_leftovers()?;
    eprintln!(
        "starting Kubernetes {} on this machine, in its own namespaces:",
        versions::kubernetes()
    );
    preflight::install_packages()?;
    components::build(components::ALL)?;
    progress::step("write the images of the components", images::write_upstream)?;

    for module in preflight::missing_modules() {
        eprintln!(
            "  note    the kernel module {module} is not loaded: `modprobe` loads it, and it stays loaded"
        );
    }
    let since_build = Instant::now();
    let arguments: Vec<_> = cpu_millis
        .iter()
        .map(|cpu_millis| format!("--control-plane-cpu={cpu_millis}m"))
        .collect();
    let attached = progress::step("start namespaces, network, containerd", || {
        Sandbox::start(&arguments)
    })?;
    let sandbox = attached.sandbox;
    let archives: Vec<_> = images::upstream()
        .iter()
        .map(images::UpstreamImage::archive)
        .collect();
    progress::step("import the images", || import::import(sandbox, &archives))?;
    progress::step("kubeadm init", || {
        let mut init = sandbox.enter("kubeadm");
        init.args([
            "init",
            "--config=/etc/kubernetes/kubeadm.yaml",
            // Preflight expects systemd, a registry and no swap. The testbed needs none of the three.
            "--skip-phases=preflight,show-join-command",
        ]);
        progress::run_to_log(&mut init, &paths::logs().join("kubeadm.log"), INIT)
    })?;
    write_kubeconfig(sandbox)?;
    progress::step("wait until the node is Ready", || {
        wait::until("the node is Ready", NODE_READY, node_is_ready)
    })?;
    attached.detach()?;
    eprintln!(
        "up after {:.1} s ({:.1} s of them after the build)\n  \
         export KUBECONFIG={}\n  \
         API server https://127.0.0.1:6443, app_a http://127.0.0.1:30080 and https://127.0.0.1:30443, \
         Prometheus http://127.0.0.1:9090\n  \
         cargo xtask k get pods -A   cargo xtask cluster exec -- bash   cargo xtask cluster down",
        start.elapsed().as_secs_f64(),
        since_build.elapsed().as_secs_f64(),
        paths::kubeconfig().display(),
    );
    Ok(up_lock)
}

/// Writes kubeadm's kubeconfig, with the address of the API server outside the namespaces.
fn write_kubeconfig(sandbox: Sandbox) -> Result<()> {
    let original = progress::run_within(READ, sandbox.enter("cat").arg("/etc/kubernetes/admin.conf"))?;
    let kubeconfig = original.replace(
        &format!("https://{}:6443", kubeadm::NODE_ADDRESS),
        "https://127.0.0.1:6443",
    );
    // The file contains the administrator's key, so it is private from its creation on.
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(paths::kubeconfig())?
        .write_all(kubeconfig.as_bytes())?;
    Ok(())
}

/// The pinned kubectl with the kubeconfig of the cluster. It runs outside the namespaces, as a user's kubectl does.
#[must_use]
pub fn kubectl() -> Command {
    let mut command = Command::new(components::KUBECTL.path());
    command.env("KUBECONFIG", paths::kubeconfig());
    command
}

fn node_is_ready() -> Result<()> {
    check_ready(kubeadm::NODE_NAME)
}

/// Fails unless a node is Ready.
pub(crate) fn check_ready(node: &str) -> Result<()> {
    let condition = r#"jsonpath={.status.conditions[?(@.type=="Ready")].status}"#;
    ensure!(
        read_node(node, condition)? == "True",
        "node {node} is not Ready yet"
    );
    Ok(())
}

/// Fails if the running first node offers another CPU time than `cpu_millis`.
fn check_cpu(cpu_millis: Option<u64>) -> Result<()> {
    let Some(cpu_millis) = cpu_millis else {
        return Ok(());
    };
    let offered = read_node(kubeadm::NODE_NAME, "jsonpath={.status.allocatable.cpu}")?;
    let wanted = cpu_quantity(cpu_millis);
    if offered != wanted {
        bail!(
            "the first node of the running cluster offers {offered} CPU, not {wanted}: stop the cluster first, with \
             `cargo xtask cluster down`"
        );
    }
    Ok(())
}

/// Reads the Node object of a node.
fn read_node(name: &str, format: &str) -> Result<String> {
    let mut get = kubectl();
    get.args(["get", "node", name, "--request-timeout=5s", "-o", format]);
    Ok(progress::run_within(READ, &mut get)?.trim().to_owned())
}

/// Imports image archives on the node, except images that the node already has.
///
/// # Errors
/// When the cluster is not up, or a file is not an image archive.
pub fn load(archives: &[PathBuf]) -> Result<()> {
    import::import(running_sandbox()?, archives)
}

/// The sandbox of the running cluster.
pub(crate) fn running_sandbox() -> Result<Sandbox> {
    Sandbox::find()?.context("the cluster is not up: start it with `cargo xtask cluster up`")
}

/// Stops the cluster and removes its processes, mounts, namespaces, cgroups and files.
///
/// The built components and the logs of the last cluster stay.
///
/// # Errors
/// When a process or a file cannot be removed.
pub fn down() -> Result<()> {
    match Sandbox::find()? {
        Some(sandbox) => progress::step("stop the cluster", || sandbox.kill())?,
        None => eprintln!("no cluster is up"),
    }
    remove_leftovers()
}

/// Removes the files and cgroups of a cluster that is not running any more, for whatever reason it stopped.
///
/// No process may hold the lock of the cluster.
fn remove_leftovers() -> Result<()> {
    let state = paths::state();
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounted.contains(&format!(" {}/", state.display())) {
        bail!("something is mounted below {}: unmount it first", state.display());
    }
    // The kernel releases cgroups and mounts a moment after the last process exits.
    wait::until(
        "the cgroups and files of the cluster are removed",
        Duration::from_secs(30),
        || {
            clear_lock_file()?;
            cgroup::remove().context("cgroup")?;
            paths::remove_folder(&state)
        },
    )
}

/// Empties the lock file, because the machine may reuse the process ID in it.
///
/// The next cluster first takes the lock and then writes its own process ID. In between, [`Sandbox::find`] would take
/// the process with the old ID for the first process of the cluster.
fn clear_lock_file() -> Result<()> {
    match File::options().write(true).open(paths::cluster_lock()) {
        Ok(lock) => {
            lock.try_lock().context("a cluster is running")?;
            Ok(lock.set_len(0)?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| paths::cluster_lock().display().to_string()),
    }
}

/// Runs a command inside the namespaces of the cluster, on this terminal, and returns its exit code.
///
/// The exit code is 1 when a signal kills `nsenter`.
///
/// # Errors
/// When the cluster is not up, or `nsenter` cannot be started.
pub fn exec(command: &[String]) -> Result<i32> {
    let (program, arguments) = command
        .split_first()
        .context("no command to run: cargo xtask cluster exec -- COMMAND")?;
    let status = running_sandbox()?
        .enter(program)
        .args(arguments)
        .status()
        .context("cannot run nsenter")?;
    Ok(status.code().unwrap_or(1))
}

/// Prints what is running and how to reach it.
///
/// # Errors
/// When the cluster is not up or does not answer.
pub fn status() -> Result<()> {
    let sandbox = running_sandbox()?;
    println!(
        "Kubernetes  {} (process {})",
        versions::kubernetes(),
        sandbox.init
    );
    println!("kubeconfig  {}", paths::kubeconfig().display());
    for (port, node_port) in preflight::FORWARDS {
        println!(
            "forward     127.0.0.1:{port} -> {}:{node_port}",
            kubeadm::NODE_ADDRESS
        );
    }
    for arguments in [
        [
            "nodes",
            "--label-columns=topology.kubernetes.io/zone,node.kubernetes.io/instance-type",
        ],
        ["pods", "--all-namespaces"],
    ] {
        let mut get = kubectl();
        get.args(["get", "--show-kind", "--request-timeout=5s"])
            .args(arguments);
        print!("{}", progress::run_within(READ, &mut get)?);
    }
    Ok(())
}

/// Prints a log of the cluster: `init`, `containerd`, `kubelet`, `kubeadm`, `node-manager`, or a log of an added node:
/// `nodes/NAME/kubelet`.
///
/// # Errors
/// When the log does not exist: the message lists the logs that do.
pub fn logs(name: &str) -> Result<()> {
    let path = paths::logs().join(format!("{name}.log"));
    let mut file = File::open(&path).with_context(|| {
        format!(
            "no log {}: the logs are {}",
            path.display(),
            file_stems(&paths::logs())
        )
    })?;
    std::io::copy(&mut file, &mut std::io::stdout())?;
    Ok(())
}

/// The names of the files in `folder`, without their extensions.
fn file_stems(folder: &Path) -> String {
    let Ok(files) = fs::read_dir(folder) else {
        return "none yet".to_owned();
    };
    let names: Vec<_> = files
        .flatten()
        .filter_map(|file| Some(file.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.join(", ")
}
