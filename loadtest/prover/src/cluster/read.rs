//! One read from the cluster: within a time, and with an error in words.

use std::{error::Error as StdError, future::Future, time::Duration};

use http::Request;
use thiserror::Error;
use tokio::time::timeout;

/// How long one read may take. A cluster that is away must not hold up the one sample a second.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// A read that failed, in words for a person.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct ReadError(pub String);

/// What a read gives: a value, or why there is none.
pub type Read<T> = Result<T, ReadError>;

pub(super) fn request(path: &str) -> Read<Request<Vec<u8>>> {
    Request::get(path)
        .body(Vec::new())
        .map_err(|error| ReadError(error.to_string()))
}

pub(super) async fn read<T>(request: impl Future<Output = kube::Result<T>>) -> Read<T> {
    read_within(PATIENCE, request).await
}

pub(super) async fn read_within<T>(
    patience: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> Read<T> {
    // On the heap: futures of requests are large, and those of their callers hold them.
    match timeout(patience, Box::pin(request)).await {
        Ok(result) => result.map_err(|error| ReadError(describe(&error))),
        Err(_) => Err(ReadError(format!(
            "no answer within {}",
            humantime::format_duration(patience)
        ))),
    }
}

/// The API server's own words where it has any, and otherwise the error with its causes.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.trim().to_owned(),
        kube::Error::Api(status) => format!("status {} {}", status.code, status.reason),
        other => with_causes(other),
    }
}

/// An error and what caused it, each said once.
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
