//! A service as users run it: the real binary, in a process of its own. Included by the tests of both services.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Longest that a test waits for a process to do anything.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// An address that no other test uses: the process id is in its loopback address, so that tests of several processes
/// and the ports that the kernel hands out are never in each other's way.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [high, middle, low] =
        [16, 8, 0].map(|shift| u8::try_from(std::process::id() >> shift & 255).unwrap());
    let ip = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    (ip, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A running service, killed when it is dropped.
pub(crate) struct Service {
    child: Child,
    /// Both are read from the start: a process whose output nobody takes stops at a full pipe.
    stdout: JoinHandle<io::Result<Vec<u8>>>,
    stderr: JoinHandle<io::Result<Vec<u8>>>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Service {
    /// Starts the binary with these environment variables and none of the test's own.
    pub(crate) fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(Command::new(binary), variables)
    }

    /// Starts a command that becomes the service.
    pub(crate) fn start_with(mut command: Command, variables: &[(&str, &str)]) -> Self {
        let (address, admin) = (free_address(), free_address());
        command
            .env_clear()
            .env("LISTEN", address.to_string())
            .env("ADMIN_LISTEN", admin.to_string())
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        Self {
            stdout: tokio::spawn(read(child.stdout.take().unwrap())),
            stderr: tokio::spawn(read(child.stderr.take().unwrap())),
            child,
            address,
            admin,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Waits until `/readyz` says 200.
    pub(crate) async fn ready(mut self) -> Self {
        let deadline = Instant::now() + PATIENCE;
        while self.readyz().await != Some(200) {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() {
                let output = self.output().await;
                panic!("ended before it was ready: {output:?}");
            }
            assert!(Instant::now() < deadline, "not ready after {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self
    }

    /// The status of `/readyz`; nothing while the admin listener does not answer.
    pub(crate) async fn readyz(&self) -> Option<u16> {
        let answer = reqwest::Client::new()
            .get(self.admin_url("/readyz"))
            .send()
            .await
            .ok()?;
        Some(answer.status().as_u16())
    }

    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(self.admin_url("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// The process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("the process was not waited for")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; the status and everything that was printed.
    pub(crate) async fn output(mut self) -> Output {
        let ended = async {
            Output {
                status: self.child.wait().await.unwrap(),
                stdout: self.stdout.await.unwrap().unwrap(),
                stderr: self.stderr.await.unwrap().unwrap(),
            }
        };
        timeout(PATIENCE, ended).await.expect("the process ends")
    }
}

async fn read(mut stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// What a process printed, both streams.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
