//! The client to `app_b`: several connection pools, and one deadline for each call.
//!
//! The calls take turns among the pools. A single pool would reuse the connection that was returned last. A Service assigns a
//! pod to each connection, so nearly all calls would reach one pod of `app_b`.
//!
//! A call is retried once, within its deadline, in two cases:
//! - Its connection closed before a response. A killed pod leaves such connections in the pool, and `/auth` is safe to retry
//!   because it only reads.
//! - Its connection was not established in time. The packet was lost, or the pod is gone and still an endpoint of the Service.
//!   A new connection may reach another pod. A full accept queue looks the same; the single retry is the cost.
//!
//! Other failures are not retried: a refused connection or a slow response is a sign of overload, and retries would add to it.

pub mod metrics;

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, Response, Url, redirect, retry};
use serde::Serialize;
use service::request_id::{self, X_REQUEST_ID};
use service::trace::{KeyValue, Tracer};

use crate::config::AppBConfig;

use self::metrics::{CallMetrics, Outcome};

/// Maximum length of a user name in bytes. A longer body is not a response of `app_b`.
const MAX_NAME_BYTES: usize = 256;

/// The response of `app_b` for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A user has the token.
    Known,
    /// No user has the token.
    Unknown,
}

/// Reasons that a call to `app_b` fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection failed or broke.
    #[error("app_b cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The call exceeded its deadline.
    #[error("app_b did not respond in time")]
    Deadline,
    /// `app_b` rejected the call because of overload.
    #[error("app_b is shedding load")]
    Shed,
    /// The response does not follow the contract of `app_b`.
    #[error("app_b sent an invalid response: {0}")]
    BadAnswer(String),
}

impl Outcome {
    fn of(result: &Result<Verdict, Error>) -> Self {
        match result {
            Ok(Verdict::Known) => Self::Known,
            Ok(Verdict::Unknown) => Self::Unknown,
            Err(Error::Unreachable(_)) => Self::Unreachable,
            Err(Error::Deadline) => Self::Deadline,
            Err(Error::Shed) => Self::Shed,
            Err(Error::BadAnswer(_)) => Self::BadAnswer,
        }
    }
}

/// The client to `app_b`. Clones share its connection pools.
#[derive(Debug, Clone)]
pub struct AppB {
    pools: Arc<Pools>,
    auth: Url,
    timeout: Duration,
    metrics: CallMetrics,
    tracer: Tracer,
}

/// Connection pools that take turns.
#[derive(Debug)]
struct Pools {
    pools: Vec<Client>,
    /// The number of the next call.
    next: AtomicUsize,
}

impl Pools {
    fn new(config: &AppBConfig) -> Result<Self> {
        let pools = (0..config.connections).map(|number| {
            // The remainder goes to the first pools, so that the sum is the configured number.
            let is_larger = number < config.pool_max_idle % config.connections;
            let max_idle = config.pool_max_idle / config.connections + usize::from(is_larger);
            Client::builder()
                .connect_timeout(config.connect_timeout)
                .pool_max_idle_per_host(max_idle)
                .pool_idle_timeout(config.pool_idle_timeout)
                .redirect(redirect::Policy::none())
                .retry(retry::never())
                .no_proxy()
                .http1_only()
                .build()
        });
        Ok(Self {
            pools: pools
                .collect::<Result<Vec<_>, _>>()
                .context("creating the HTTP client")?,
            next: AtomicUsize::new(0),
        })
    }

    /// The pool for one call.
    fn next(&self) -> &Client {
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        &self.pools[call % self.pools.len()]
    }
}

#[derive(Serialize)]
struct Credentials<'a> {
    token: &'a str,
}

impl AppB {
    /// Creates a client. It connects on the first call.
    ///
    /// # Errors
    /// If the HTTP client cannot be created.
    pub fn new(config: &AppBConfig, metrics: CallMetrics, tracer: Tracer) -> Result<Self> {
        let pools = Arc::new(Pools::new(config)?);
        let auth = config.url.join("/auth").context("the URL of app_b")?;
        Ok(Self {
            pools,
            auth,
            timeout: config.timeout,
            metrics,
            tracer,
        })
    }

    /// Asks `app_b` whether a user has this token. The call forwards the id and the trace of `request`.
    ///
    /// # Errors
    /// If `app_b` gives no valid response within the deadline.
    pub async fn authenticate(&self, token: &str, request: &HeaderMap) -> Result<Verdict, Error> {
        let call = self.metrics.start();
        let mut span = self.tracer.call("POST /auth", || self.attributes());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/html, text/plain;q=0.9"));
        headers.extend(request_id::of(request).map(|id| (X_REQUEST_ID, id.clone())));
        span.context().forward(request, &mut headers);
        let result = tokio::time::timeout(self.timeout, self.post(token, headers)).await;
        let result = result.unwrap_or(Err(Error::Deadline));
        let outcome = Outcome::of(&result);
        if result.is_err() {
            span.fail(outcome.label());
        }
        call.finish(outcome);
        result
    }

    /// Describes a call for the traces, by the Semantic Conventions for HTTP Spans. The URL contains no secret.
    fn attributes(&self) -> Vec<KeyValue> {
        vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("url.full", self.auth.to_string()),
            KeyValue::new(
                "server.address",
                self.auth.host_str().unwrap_or_default().to_owned(),
            ),
            KeyValue::new(
                "server.port",
                i64::from(self.auth.port_or_known_default().unwrap_or(80)),
            ),
        ]
    }

    async fn post(&self, token: &str, headers: HeaderMap) -> Result<Verdict, Error> {
        let pool = self.pools.next();
        let send = || {
            pool.post(self.auth.clone())
                .headers(headers.clone())
                .form(&Credentials { token })
                .send()
        };
        let response = match send().await {
            Err(error) if is_closed_unanswered(&error) || is_unestablished(&error) => {
                self.metrics.http_client_retries_total.inc();
                send().await
            }
            result => result,
        };
        verdict(response.map_err(classify)?).await
    }
}

/// Reads a response. An unknown token is 401, or 200 with the body `fail` as in the original. No user has the name
/// `fail`: the database schema of `app_b` forbids it.
async fn verdict(mut response: Response) -> Result<Verdict, Error> {
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => return Ok(Verdict::Unknown),
        StatusCode::SERVICE_UNAVAILABLE => return Err(Error::Shed),
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => return Err(Error::Deadline),
        status => return Err(Error::BadAnswer(format!("status {}", status.as_u16()))),
    }
    let is_text = response
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"text/"));
    if !is_text {
        return Err(Error::BadAnswer("the content type is not text".to_owned()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_NAME_BYTES {
            return Err(Error::BadAnswer(format!(
                "the body exceeds {MAX_NAME_BYTES} bytes"
            )));
        }
    }
    match body.as_slice() {
        b"fail" => Ok(Verdict::Unknown),
        name if is_name(name) => Ok(Verdict::Known),
        _ => Err(Error::BadAnswer("the body is not a user name".to_owned())),
    }
}

/// Accepts one word of visible characters without markup.
fn is_name(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    !name.is_empty()
        && name
            .chars()
            .all(|char| !char.is_control() && !char.is_whitespace() && !"<>&\"".contains(char))
}

fn classify(error: reqwest::Error) -> Error {
    // Keeps the error short. An error never contains the token, because the token is in the form.
    let error = error.without_url();
    if error.is_timeout() {
        Error::Deadline
    } else if error.is_connect() || is_closed_unanswered(&error) || io_error(&error).is_some() {
        Error::Unreachable(error)
    } else {
        Error::BadAnswer(service::reply::Cause::new(&error).to_string())
    }
}

/// Whether the connection closed after the request was sent and before a response.
fn is_closed_unanswered(error: &reqwest::Error) -> bool {
    if error.is_timeout() || error.is_connect() || !error.is_request() {
        return false;
    }
    let hyper = sources(error).find_map(|source| source.downcast_ref::<hyper::Error>());
    let is_reset = || {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        io_error(error)
            .is_some_and(|error| matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset))
    };
    hyper.is_some_and(|error| error.is_incomplete_message() || error.is_canceled()) || is_reset()
}

/// Whether the connection was not established in time.
fn is_unestablished(error: &reqwest::Error) -> bool {
    error.is_connect() && error.is_timeout()
}

fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    sources(error).find_map(|source| source.downcast_ref::<io::Error>())
}

fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&source| source.source())
}
