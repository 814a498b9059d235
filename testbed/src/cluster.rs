//! The testbed's commands: up, down, exec, status, logs.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::sandbox::Sandbox;
use crate::{cgroup, images, import, kubeadm, paths, preflight, progress, tools, versions, wait};

/// How long a node may take to become Ready: 30 s is the aim when warm, the rest is for a busy machine.
const NODE_READY: Duration = Duration::from_mins(3);
/// How long a cluster that already runs may take to answer before it is made anew.
const RECOVERY: Duration = Duration::from_mins(1);

/// Makes the cluster, unless it is there and well.
///
/// # Errors
/// What the machine lacks and what to do about it; a step that failed, with the end of its output.
pub fn up() -> Result<()> {
    preflight::machine_can()?;
    fs::create_dir_all(paths::cache()).context("cannot create target/testbed")?;
    let only_one = File::create(paths::cache().with_extension("up.lock"))?;
    match only_one.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            eprintln!("another `cluster up` is at work, waiting for its end");
            only_one.lock().context("cannot wait for another `cluster up`")?;
        }
        Err(fs::TryLockError::Error(error)) => return Err(error).context("cannot lock `cluster up`"),
    }
    let start = Instant::now();
    if Sandbox::find()?.is_some() {
        match wait::until("the running cluster", RECOVERY, node_is_ready) {
            Ok(()) => {
                eprintln!("the cluster is up already");
                return Ok(());
            }
            Err(error) => {
                eprintln!("the running cluster is not well, making it anew ({error:#})");
                // It may have ended while it was waited for.
                if let Some(sandbox) = Sandbox::find()? {
                    sandbox.end()?;
                }
                // Its ports become free a moment after its lock; who else may have them is said below.
                let _ = wait::until("the ports", Duration::from_secs(5), preflight::machine_is_free);
            }
        }
    }
    preflight::machine_is_free()?;
    clean()?;
    eprintln!(
        "Kubernetes {} on this machine, in namespaces of its own:",
        versions::kubernetes()
    );
    preflight::install_packages()?;
    tools::build(tools::ALL)?;
    progress::step("write the components' images", images::write_upstream)?;

    for module in preflight::missing_modules() {
        eprintln!(
            "  note    the kernel module {module} is not loaded: it will be (modprobe), and stays loaded"
        );
    }
    let since_warm = Instant::now();
    let attached = progress::step("namespaces, network, containerd", Sandbox::start)?;
    let sandbox = attached.sandbox;
    let archives: Vec<_> = images::upstream()
        .iter()
        .map(images::UpstreamImage::archive)
        .collect();
    progress::step("import the images", || import::import(sandbox, &archives))?;
    progress::step("kubeadm init", || {
        let output = progress::run(sandbox.enter("kubeadm").args([
            "init",
            "--config=/etc/kubernetes/kubeadm.yaml",
            // Looks for systemd, swap and a registry, none of which the testbed has or wants.
            "--skip-phases=preflight,show-join-command",
        ]));
        fs::write(
            paths::logs().join("kubeadm.log"),
            output.as_deref().unwrap_or_default(),
        )?;
        output.map(drop)
    })?;
    write_kubeconfig(sandbox)?;
    progress::step("node Ready", || {
        wait::until("the node", NODE_READY, node_is_ready)
    })?;
    attached.detach()?;
    eprintln!(
        "up after {:.1} s ({:.1} s of them since everything was built)\n  \
         export KUBECONFIG={}\n  \
         API server https://127.0.0.1:6443, app_a http://127.0.0.1:30080, Prometheus http://127.0.0.1:9090\n  \
         cargo xtask k get pods -A   cargo xtask cluster exec -- bash   cargo xtask cluster down",
        start.elapsed().as_secs_f64(),
        since_warm.elapsed().as_secs_f64(),
        paths::kubeconfig().display(),
    );
    Ok(())
}

/// kubeadm's own, with the address at which the API server is reached from outside.
fn write_kubeconfig(sandbox: Sandbox) -> Result<()> {
    let inside = progress::run(sandbox.enter("cat").arg("/etc/kubernetes/admin.conf"))?;
    let outside = inside.replace(
        &format!("https://{}:6443", kubeadm::NODE_ADDRESS),
        "https://127.0.0.1:6443",
    );
    // It holds the administrator's key: closed to others from its first moment.
    File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(paths::kubeconfig())?
        .write_all(outside.as_bytes())?;
    Ok(())
}

/// The pinned kubectl, on the cluster, from outside of its namespaces: as a user's own would be.
#[must_use]
pub fn kubectl() -> Command {
    let mut command = Command::new(tools::KUBECTL.path());
    command.env("KUBECONFIG", paths::kubeconfig());
    command
}

fn node_is_ready() -> Result<()> {
    let condition = r#"jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
    let answer = progress::run(kubectl().args(["get", "nodes", "--request-timeout=5s", "-o", condition]))?;
    if answer.trim() != "True" {
        bail!("the node is not Ready");
    }
    Ok(())
}

/// Brings image archives to the node.
///
/// # Errors
/// When the cluster is not up, or an archive is not one.
pub fn load(archives: &[PathBuf]) -> Result<()> {
    import::import(running()?, archives)
}

fn running() -> Result<Sandbox> {
    Sandbox::find()?.context("the cluster is not up: `cargo xtask cluster up` makes it")
}

/// Ends the cluster and removes everything that it left: processes, mounts, namespaces, cgroups, files.
/// What was built stays, and the logs of the last one.
///
/// # Errors
/// When a process or a file cannot be removed.
pub fn down() -> Result<()> {
    match Sandbox::find()? {
        Some(sandbox) => progress::step("end the cluster", || sandbox.end())?,
        None => eprintln!("no cluster is up"),
    }
    clean()
}

/// Removes what a cluster that was ended, by whatever, left behind. To be called when nothing holds the cluster's lock.
fn clean() -> Result<()> {
    let state = paths::state();
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounted.contains(&format!(" {}/", state.display())) {
        bail!("something is mounted below {}: unmount it first", state.display());
    }
    // The kernel frees a cgroup and a mount a moment after the last process.
    wait::until(
        "removing the cluster's cgroups and files",
        Duration::from_secs(30),
        || {
            forget_the_first_process()?;
            cgroup::remove().context("cgroup")?;
            match fs::remove_dir_all(&state) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(error).with_context(|| state.display().to_string())
                }
                _ => Ok(()),
            }
        },
    )
}

/// Empties the lock file: the machine may give the number in it to somebody else's process, which would be taken for
/// ours between the moment when the next cluster holds the lock and the one when it has written its own number.
fn forget_the_first_process() -> Result<()> {
    match File::options().write(true).open(paths::cluster_lock()) {
        Ok(lock) => {
            lock.try_lock().context("a cluster is alive")?;
            Ok(lock.set_len(0)?)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| paths::cluster_lock().display().to_string()),
    }
}

/// Runs a command inside of the cluster's namespaces, with this terminal.
///
/// # Errors
/// When the cluster is not up, or the command is not found; its exit code is returned.
pub fn exec(command: &[String]) -> Result<i32> {
    let (program, arguments) = command
        .split_first()
        .context("nothing to run: cluster exec -- CMD")?;
    let status = running()?
        .enter(program)
        .args(arguments)
        .status()
        .context("cannot run nsenter")?;
    Ok(status.code().unwrap_or(1))
}

/// Prints what is up, and how to reach it.
///
/// # Errors
/// When the cluster is not up or does not answer.
pub fn status() -> Result<()> {
    let sandbox = running()?;
    println!(
        "Kubernetes  {} (process {})",
        versions::kubernetes(),
        sandbox.init
    );
    println!("kubeconfig  {}", paths::kubeconfig().display());
    for (outside, inside) in preflight::FORWARDS {
        println!(
            "forward     127.0.0.1:{outside} -> {}:{inside}",
            kubeadm::NODE_ADDRESS
        );
    }
    let nodes = progress::run(kubectl().args(["get", "nodes,pods", "-A", "--request-timeout=5s"]))?;
    print!("{nodes}");
    Ok(())
}

/// The cluster's logs: `init`, `containerd`, `kubelet`, `kubeadm`.
///
/// # Errors
/// When there is no log of that name.
pub fn logs(name: &str) -> Result<()> {
    let path = paths::logs().join(format!("{name}.log"));
    let mut file = File::open(&path).with_context(|| {
        format!(
            "no log {}: there are {}",
            path.display(),
            available(&paths::logs())
        )
    })?;
    std::io::copy(&mut file, &mut std::io::stdout())?;
    Ok(())
}

fn available(folder: &Path) -> String {
    let Ok(files) = fs::read_dir(folder) else {
        return "none yet".to_owned();
    };
    let names: Vec<_> = files
        .flatten()
        .filter_map(|file| Some(file.path().file_stem()?.to_string_lossy().into_owned()))
        .collect();
    names.join(", ")
}
