//! Requests to the cluster, with a timeout and readable errors.

use std::{error::Error as StdError, future::Future, time::Duration};

use http::Request;
use thiserror::Error;
use tokio::time::timeout;

/// The timeout of one read. An unreachable cluster must not block the next sample, which is due every second.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(3);

/// The error of a failed read, as a readable message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ReadError(pub String);

/// The result of a read from the cluster.
pub type ReadResult<T> = Result<T, ReadError>;

pub(super) fn request(path: &str) -> ReadResult<Request<Vec<u8>>> {
    Request::get(path)
        .body(Vec::new())
        .map_err(|error| ReadError(error.to_string()))
}

pub(super) async fn read<T>(request: impl Future<Output = kube::Result<T>>) -> ReadResult<T> {
    read_within(READ_TIMEOUT, request).await
}

pub(super) async fn read_within<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> ReadResult<T> {
    // Boxed: the futures of requests are large, and would be part of the callers' futures.
    match timeout(limit, Box::pin(request)).await {
        Ok(result) => result.map_err(|error| ReadError(describe(&error))),
        Err(_) => Err(ReadError(format!(
            "no response within {}",
            humantime::format_duration(limit)
        ))),
    }
}

/// Returns the message of the API server if there is one, or the error and its causes.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.trim().to_owned(),
        kube::Error::Api(status) => format!("status {} {}", status.code, status.reason),
        // Only the causes: the text of this error itself is only the name of its type.
        kube::Error::Service(error) => with_causes(error.as_ref()),
        other => with_causes(other),
    }
}

/// Returns the messages of an error and its causes, without repetitions.
pub(super) fn with_causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
