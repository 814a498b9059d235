//! A port of a pod on this machine, by `kubectl port-forward`. No Service and no load balancer is involved, and no network policy applies.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{again::until_answered, options::CanaryOptions};

/// The time in which one kubectl forwards the port. It takes a second on an idle machine; after this, another one may do better.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What kubectl prints before the number of the local port.
const FORWARDING: &str = "Forwarding from 127.0.0.1:";

/// A forwarded port. Dropping it ends kubectl.
pub(super) struct Forward {
    port: u16,
    _kubectl: Child,
    printed: JoinHandle<()>,
}

impl Forward {
    /// Forwards a port of a pod. Starts kubectl again if it fails.
    ///
    /// # Errors
    /// Returns what the last kubectl said before the deadline.
    pub(super) async fn open(
        options: &CanaryOptions,
        pod: &str,
        port: i32,
        deadline: Instant,
    ) -> Result<Self, String> {
        let attempt =
            async || Self::attempt(options, pod, port, deadline.min(Instant::now() + ATTEMPT)).await;
        until_answered(deadline, attempt).await
    }

    async fn attempt(
        options: &CanaryOptions,
        pod: &str,
        port: i32,
        deadline: Instant,
    ) -> Result<Self, String> {
        let mut command = Command::new(&options.kubectl);
        if let Some(context) = &options.context {
            command.args(["--context", context]);
        }
        command
            .args([
                "port-forward",
                "--address",
                "127.0.0.1",
                "--namespace",
                &options.namespace,
            ])
            .arg(format!("pod/{pod}"))
            .arg(format!(":{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let shown = format!("kubectl port-forward pod/{pod} :{port}");
        let failed = |what: &str| format!("{shown}: {what}");
        let mut kubectl = command.spawn().map_err(|error| failed(&error.to_string()))?;
        let (Some(stdout), Some(mut stderr)) = (kubectl.stdout.take(), kubectl.stderr.take()) else {
            return Err(failed("no output"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let first = timeout_at(deadline, lines.next_line()).await;
        let first = first.map_err(|_| failed("no answer in time"))?;
        let line = first.ok().flatten().unwrap_or_default();
        let port = line.strip_prefix(FORWARDING);
        let port = port.and_then(|rest| rest.split(' ').next()?.parse().ok());
        let Some(port) = port else {
            let mut text = String::new();
            // It has closed its standard output, so it exits.
            drop(timeout_at(deadline, stderr.read_to_string(&mut text)).await);
            return Err(failed(&format!("{line}{}", text.trim())));
        };
        // kubectl prints a line for each connection, and would wait while nobody reads them.
        let printed = tokio::spawn(async move {
            let errors = async { drop(stderr.read_to_end(&mut Vec::new()).await) };
            let lines = async { while let Ok(Some(_)) = lines.next_line().await {} };
            tokio::join!(errors, lines);
        });
        Ok(Self {
            port,
            _kubectl: kubectl,
            printed,
        })
    }

    /// Returns the URL of the port, without a path.
    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.printed.abort();
    }
}
