//! The client of the node manager, for the commands of the testbed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Problem, SOCKET};
use crate::sandbox::Sandbox;

/// The deadline of a request. The removal of a node takes less than a second on an idle machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// The error of a response whose status is not a success.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, message } = self;
        write!(formatter, "{status}: {message}")
    }
}

impl std::error::Error for Refused {}

/// Sends a request to the node manager of the running cluster, and returns the parsed response.
///
/// The error is [`Refused`] if the node manager refuses the request.
pub(super) fn call<T: DeserializeOwned>(
    sandbox: Sandbox,
    method: Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> Result<T> {
    // The socket is in the mount namespace of the cluster.
    let root = Path::new("/proc").join(sandbox.init.to_string()).join("root");
    let socket = root.join(SOCKET.trim_start_matches('/'));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let shown = format!("{method} {path} of the node manager");
    let exchange = async move {
        let stream = UnixStream::connect(&socket)
            .await
            .context("the node manager does not listen (`cargo xtask cluster logs node-manager`)")?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "testbed")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let content = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            let message = match serde_json::from_slice::<Problem>(&content) {
                Ok(problem) => problem.message,
                Err(_) => String::from_utf8_lossy(&content).into_owned(),
            };
            return Err(anyhow::Error::new(Refused { status, message }));
        }
        Ok(serde_json::from_slice(&content)?)
    };
    runtime.block_on(async {
        timeout(DEADLINE, exchange)
            .await
            .with_context(|| format!("{shown}: no response within {} s", DEADLINE.as_secs()))?
            .context(shown)
    })
}
