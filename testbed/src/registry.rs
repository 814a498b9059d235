//! The registry of the testbed, to which images are pushed as to any other registry, and from which every node pulls them.
//!
//! It is the registry of the CNCF (<https://distribution.github.io/distribution/>), a process beside containerd in the namespaces of the
//! first node. It has the same address on the machine, where images are pushed, and on the nodes: port [`PORT`] of the loopback. On the
//! machine the port is forwarded, and on the nodes containerd has a file for this address. The registry and its images disappear with
//! the cluster.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::kubeadm::NODE_ADDRESS;
use crate::{cluster, components, paths, progress, wait};

/// The port on the loopback of the machine, and on the address of the first node.
pub const PORT: u16 = 5005;

/// The folder that contains the configuration, in the first node.
const FOLDER: &str = "/etc/kubernetes";

/// The file in [`FOLDER`] that makes the first process of the cluster start the registry.
const CONFIGURATION: &str = "registry.json";

/// How long the registry may take to answer. It takes less than a second on an idle machine.
const START: Duration = Duration::from_secs(30);

/// The deadline of one request.
const REQUEST: Duration = Duration::from_secs(5);

/// The name of the registry in references of images: `127.0.0.1:5005`.
#[must_use]
pub fn name() -> String {
    format!("127.0.0.1:{PORT}")
}

/// The path of the configuration in the first node.
pub(crate) fn configuration_path() -> String {
    format!("{FOLDER}/{CONFIGURATION}")
}

/// The configuration of a registry that stores its content in `folder` (JSON is YAML).
///
/// `users` is a file of `htpasswd` with the accounts that have access. `None`: everyone has.
#[must_use]
pub fn configuration(address: &str, folder: &Path, users: Option<&Path>) -> String {
    let mut configuration = json!({
        "version": "0.1",
        "log": { "level": "warn", "accesslog": { "disabled": true } },
        "storage": { "filesystem": { "rootdirectory": folder } },
        "http": { "addr": address },
    });
    if let Some(users) = users {
        configuration["auth"] = json!({ "htpasswd": { "realm": "registry", "path": users } });
    }
    configuration.to_string()
}

/// Starts the registry in the running cluster, unless it runs. It stops with the cluster.
///
/// # Errors
/// When the cluster is not up, the registry cannot be built, or does not answer.
pub fn start() -> Result<()> {
    cluster::running_sandbox()?;
    components::build(&[components::REGISTRY])?;
    let state = paths::state();
    let content = state.join("registry");
    let address = format!("{NODE_ADDRESS}:{PORT}");
    let folder = paths::replacement(&state, FOLDER);
    // The first process must not read a part of the file.
    let new = tempfile::NamedTempFile::new_in(&folder).with_context(|| folder.display().to_string())?;
    fs::write(new.path(), configuration(&address, &content, None))?;
    new.persist(folder.join(CONFIGURATION))?;
    progress::step("start the registry", || {
        wait::until("the registry answers", START, || answers(PORT))
    })?;
    eprintln!("  cargo xtask images --push {}", name());
    Ok(())
}

/// Fails unless the registry on this port of the loopback answers.
///
/// # Errors
/// When it does not answer within 5 seconds, or not with status 200.
pub fn answers(port: u16) -> Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, REQUEST)?;
    stream.set_read_timeout(Some(REQUEST))?;
    stream.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    let status = response.lines().next().unwrap_or_default();
    // 401: the registry answers, and wants credentials.
    let is_registry = status.contains(" 200 ") || status.contains(" 401 ");
    ensure!(is_registry, "GET /v2/ on {address}: {status:?}");
    Ok(())
}
