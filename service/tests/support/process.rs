//! Runs the binary of a service in a process of its own. The tests of `app_a` and `app_b` include this file.

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

/// The time limit of every wait for a process.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_mins(1);

/// Returns an address that no other test uses. The process id is a part of the loopback address, so the address
/// does not conflict with other test processes or with the ports that the kernel assigns.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    let [high, middle, low] =
        [16, 8, 0].map(|shift| u8::try_from(std::process::id() >> shift & 255).unwrap());
    let ip = Ipv4Addr::new(127, 64 | (high & 63), middle, low);
    (ip, NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A running service. Dropping it kills the process.
pub(crate) struct Service {
    child: Child,
    /// Standard output and error, read from the start. Empty if the test has the pipe.
    output: [Option<JoinHandle<io::Result<Vec<u8>>>>; 2],
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Service {
    /// Starts the binary with these environment variables only. It inherits none from the test.
    pub(crate) fn start(binary: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with(Command::new(binary), variables)
    }

    /// Starts a command that executes the service, such as a shell with `exec`.
    pub(crate) fn start_with(mut command: Command, variables: &[(&str, &str)]) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Self::spawn(command, variables)
    }

    /// Starts the binary with a pipe of the test as its standard output and error.
    pub(crate) fn start_with_pipe(binary: &str, variables: &[(&str, &str)], pipe: &io::PipeWriter) -> Self {
        let mut command = Command::new(binary);
        command
            .stdout(pipe.try_clone().unwrap())
            .stderr(pipe.try_clone().unwrap());
        Self::spawn(command, variables)
    }

    fn spawn(mut command: Command, variables: &[(&str, &str)]) -> Self {
        let (address, admin) = (free_address(), free_address());
        command
            .env_clear()
            .env("LISTEN", address.to_string())
            .env("ADMIN_LISTEN", admin.to_string())
            .envs(variables.iter().copied())
            .kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        Self {
            output: [
                child.stdout.take().map(|stream| tokio::spawn(read(stream))),
                child.stderr.take().map(|stream| tokio::spawn(read(stream))),
            ],
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

    /// Waits until `/readyz` responds 200.
    pub(crate) async fn ready(mut self) -> Self {
        let deadline = Instant::now() + TEST_TIMEOUT;
        while self.readyz().await != Some(200) {
            let status = self.child.try_wait().unwrap();
            if status.is_some() {
                let output = self.output().await;
                panic!("exited before it was ready: {output:?}");
            }
            assert!(Instant::now() < deadline, "not ready after {TEST_TIMEOUT:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self
    }

    /// Returns the status of `/readyz`. `None` while the admin listener does not respond.
    pub(crate) async fn readyz(&self) -> Option<u16> {
        let response = reqwest::Client::new()
            .get(self.admin_url("/readyz"))
            .send()
            .await
            .ok()?;
        Some(response.status().as_u16())
    }

    pub(crate) async fn metrics(&self) -> String {
        reqwest::get(self.admin_url("/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap()
    }

    /// Returns the process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("the process has not been waited for")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until the process exits. Returns its status and its output.
    pub(crate) async fn output(mut self) -> Output {
        let exited = async {
            let status = self.child.wait().await.unwrap();
            let [stdout, stderr] = self.output.map(|stream| async {
                match stream {
                    Some(stream) => stream.await.unwrap().unwrap(),
                    None => Vec::new(),
                }
            });
            Output {
                status,
                stdout: stdout.await,
                stderr: stderr.await,
            }
        };
        timeout(TEST_TIMEOUT, exited).await.expect("the process exits")
    }
}

async fn read(mut stream: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

/// Returns the output of a process: standard output, then standard error.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
