//! A real registry on the loopback of a network of its own.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use tempfile::TempDir;
use testbed::{components, paths, progress, registry, wait};

/// The port of the registry. No other process uses it, because the network has no other process.
const PORT: u16 = 5000;

/// An account of a registry with accounts, as a line of `htpasswd`: the password is `secret`, with the smallest cost that bcrypt has
/// in the registry's library, 4.
const ACCOUNT: &str = "tester:$2b$04$zs4.jJ4oaIXV8X7jBYGVruE0yHqrQEZlo5f731hPLJ4fPvDNSsJz.\n";

/// A running registry. Dropping it, or the exit of this process, stops it.
pub(crate) struct Registry {
    folder: TempDir,
    process: Child,
}

impl Registry {
    /// Starts a registry that everyone may use.
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(false)
    }

    /// Starts a registry that accepts only [`ACCOUNT`].
    pub(crate) fn start_with_accounts() -> Result<Self> {
        Self::start_with(true)
    }

    /// Moves the calling thread into a network that contains only loopback, and starts a registry there. The processes that this
    /// thread starts reach the registry, and nothing outside of the machine.
    fn start_with(accounts: bool) -> Result<Self> {
        // The suite has built them, because the first build takes minutes.
        components::build(&[components::CRANE, components::REGISTRY, components::COSIGN])?;
        unshare(CloneFlags::CLONE_NEWNET).context("cannot create a network namespace")?;
        progress::run(Command::new("ip").args(["link", "set", "lo", "up"]))?;
        let folder = tempfile::Builder::new()
            .prefix("registry-")
            .tempdir_in(paths::target())?;
        let users = folder.path().join("users");
        fs::write(&users, ACCOUNT)?;
        let configuration = folder.path().join("registry.json");
        let address = format!("127.0.0.1:{PORT}");
        let content = folder.path().join("content");
        fs::write(
            &configuration,
            registry::configuration(&address, &content, accounts.then_some(&users)),
        )?;
        let log = fs::File::create(folder.path().join("log"))?;
        let process = progress::bound_to_this_process(&components::REGISTRY.path().to_string_lossy())
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot run the registry")?;
        let registry = Self { folder, process };
        wait::until("the registry answers", Duration::from_mins(1), || {
            registry::answers(PORT).with_context(|| registry.log())
        })?;
        Ok(registry)
    }

    /// The name of the registry in references.
    pub(crate) fn name() -> String {
        format!("127.0.0.1:{PORT}")
    }

    /// A folder for files of the test.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Runs crane, and returns its standard output.
pub(crate) fn crane(arguments: &[&str]) -> Result<String> {
    e2e::succeed(Command::new(components::CRANE.path()).args(arguments))
}

/// The part of an image that a command of crane prints: `manifest` or `config`.
pub(crate) fn part(command: &str, reference: &str) -> Result<Value> {
    serde_json::from_str(&crane(&[command, reference])?).context("crane prints no JSON")
}
