//! The client to `app_b`: one pool of connections, one deadline, and a verdict or a reason.
//!
//! `/auth` only reads, so a call is tried a second time, within the same deadline, if its connection closed before
//! an answer came: a pod that was killed leaves such connections in the pool. Nothing else is retried: a
//! refused connection or a slow answer is `app_b`'s trouble, and more requests would add to it.

use std::error::Error as StdError;
use std::io;
use std::time::Instant;

use anyhow::{Context, Result};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::{Client, Response, Url, redirect, retry};
use serde::Serialize;
use service::request_id::X_REQUEST_ID;

use crate::config::AppBConfig;
use crate::metrics::Metrics;

/// Longest answer that can be a user's name, in bytes. What is longer is some other page.
const LONGEST_NAME_BYTES: usize = 256;

/// What `app_b` says of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It belongs to a user.
    Known,
    /// It belongs to nobody.
    Unknown,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be made, or it broke.
    #[error("app_b cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The time for the call was over.
    #[error("app_b did not answer in time")]
    Deadline,
    /// `app_b` is overloaded and said so.
    #[error("app_b is shedding load")]
    Shed,
    /// An answer came that is not one of `app_b`'s.
    #[error("app_b's answer cannot be understood: {0}")]
    BadAnswer(String),
}

/// Outcome of a call, as the label of its metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The token is known.
    Known,
    /// The token is not known.
    Unknown,
    /// No connection, or a broken one.
    Unreachable,
    /// Too slow.
    Deadline,
    /// Overloaded.
    Shed,
    /// Not understood.
    BadAnswer,
    /// Given up, because the client went away or the time for its whole request was over.
    Cancelled,
}

impl Outcome {
    /// Every outcome there is.
    pub const ALL: [Self; 7] = [
        Self::Known,
        Self::Unknown,
        Self::Unreachable,
        Self::Deadline,
        Self::Shed,
        Self::BadAnswer,
        Self::Cancelled,
    ];

    /// The label's value.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Known => "known",
            Self::Unknown => "unknown",
            Self::Unreachable => "unreachable",
            Self::Deadline => "deadline",
            Self::Shed => "shed",
            Self::BadAnswer => "bad_answer",
            Self::Cancelled => "cancelled",
        }
    }

    fn of(answer: &Result<Verdict, Error>) -> Self {
        match answer {
            Ok(Verdict::Known) => Self::Known,
            Ok(Verdict::Unknown) => Self::Unknown,
            Err(Error::Unreachable(_)) => Self::Unreachable,
            Err(Error::Deadline) => Self::Deadline,
            Err(Error::Shed) => Self::Shed,
            Err(Error::BadAnswer(_)) => Self::BadAnswer,
        }
    }
}

/// A call in flight: dropped before its outcome is known, it counts as cancelled.
#[derive(Debug)]
struct Call<'a> {
    metrics: &'a Metrics,
    started: Instant,
    outcome: Outcome,
}

impl<'a> Call<'a> {
    fn start(metrics: &'a Metrics) -> Self {
        Self {
            metrics,
            started: Instant::now(),
            outcome: Outcome::Cancelled,
        }
    }

    fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.metrics
            .http_client_request_duration_seconds
            .observe(self.started.elapsed().as_secs_f64());
        self.metrics
            .http_client_requests_total
            .with_label_values(&[self.outcome.label()])
            .inc();
    }
}

/// The client; cloning shares its pool.
#[derive(Debug, Clone)]
pub struct AppB {
    client: Client,
    auth: Url,
    timeout: std::time::Duration,
    metrics: Metrics,
}

#[derive(Serialize)]
struct Credentials<'a> {
    token: &'a str,
}

impl AppB {
    /// A client for this configuration. It connects when it is first used.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: &AppBConfig, metrics: Metrics) -> Result<Self> {
        let client = Client::builder()
            .connect_timeout(config.connect_timeout)
            .pool_max_idle_per_host(config.pool_max_idle)
            .pool_idle_timeout(config.pool_idle_timeout)
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .http1_only()
            .build()
            .context("making the HTTP client")?;
        let auth = config.url.join("/auth").context("the URL of app_b")?;
        Ok(Self {
            client,
            auth,
            timeout: config.timeout,
            metrics,
        })
    }

    /// Asks whose token this is; `request_id` goes along.
    ///
    /// # Errors
    /// When there is no verdict within the deadline.
    pub async fn authenticate(
        &self,
        token: &str,
        request_id: Option<&HeaderValue>,
    ) -> Result<Verdict, Error> {
        let call = Call::start(&self.metrics);
        let answer = tokio::time::timeout(self.timeout, self.ask(token, request_id)).await;
        let answer = answer.unwrap_or(Err(Error::Deadline));
        call.finish(Outcome::of(&answer));
        answer
    }

    async fn ask(&self, token: &str, request_id: Option<&HeaderValue>) -> Result<Verdict, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/html, text/plain;q=0.9"));
        headers.extend(request_id.map(|id| (X_REQUEST_ID, id.clone())));
        let send = || {
            self.client
                .post(self.auth.clone())
                .headers(headers.clone())
                .form(&Credentials { token })
                .send()
        };
        let response = match send().await {
            Err(error) if is_closed_unanswered(&error) => {
                self.metrics.http_client_retries_total.inc();
                send().await
            }
            outcome => outcome,
        };
        verdict(response.map_err(classify)?).await
    }
}

/// Reads both forms of the answer: 401 for a token that nobody has, or the original's 200 with `fail`. No user is
/// called `fail`, `app_b`'s schema sees to that.
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
        return Err(Error::BadAnswer("its content type is not text".to_owned()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(classify)? {
        body.extend_from_slice(&chunk);
        if body.len() > LONGEST_NAME_BYTES {
            return Err(Error::BadAnswer(format!("more than {LONGEST_NAME_BYTES} bytes")));
        }
    }
    match body.as_slice() {
        b"fail" => Ok(Verdict::Unknown),
        name if is_name(name) => Ok(Verdict::Known),
        _ => Err(Error::BadAnswer("its body is no user's name".to_owned())),
    }
}

/// One word of visible characters, no markup.
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
    // The URL is in the configuration, and the form, which holds the token, is in no error.
    let error = error.without_url();
    if error.is_timeout() {
        Error::Deadline
    } else if error.is_connect() || is_closed_unanswered(&error) || io_error(&error).is_some() {
        Error::Unreachable(error)
    } else {
        Error::BadAnswer(service::reply::Cause::new(&error).to_string())
    }
}

/// The request was sent, and the connection ended without an answer.
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

fn io_error(error: &reqwest::Error) -> Option<&io::Error> {
    sources(error).find_map(|source| source.downcast_ref::<io::Error>())
}

fn sources(error: &reqwest::Error) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&source| source.source())
}
