//! Sends one request on a new connection and returns the complete response, for checks of a deployment.

use std::{future, pin::pin, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, timeout},
};

use super::{
    failure::Failure,
    mix::{Mix, Protocol},
    network::{Network, Stream},
    target::Target,
};

/// The largest body that is read.
const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The reason why there is no complete response.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct NoResponse(String);

/// A complete response.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The time from the start of the name lookup to the end of the response.
    pub took: Duration,
}

/// Sends one request to a target over HTTP/1.1, on a connection of its own. Follows no redirect.
///
/// # Errors
/// When there is no complete response within `limit`. The message names the step that failed.
pub async fn fetch(
    network: &Network,
    target: &Target,
    headers: &[(HeaderName, HeaderValue)],
    body: &Bytes,
    limit: Duration,
) -> Result<Fetched, NoResponse> {
    let mix = Mix::new(vec![target.clone()], headers, body, Protocol::Http1);
    let request = mix.map_err(|error| NoResponse(error.to_string()))?.request(0);
    let started = Instant::now();
    let response = timeout(limit, exchange(network, target, request)).await;
    let (status, headers, body) = response.map_err(|_| {
        let limit = humantime::format_duration(limit);
        NoResponse(format!("no complete response within {limit}"))
    })??;
    Ok(Fetched {
        status,
        headers,
        body,
        took: started.elapsed(),
    })
}

type Response = (StatusCode, HeaderMap, Bytes);

async fn exchange(
    network: &Network,
    target: &Target,
    request: Request<Full<Bytes>>,
) -> Result<Response, NoResponse> {
    let origin = target.origin();
    let addresses = network.addresses(&origin).await;
    let addresses =
        addresses.map_err(|error| NoResponse(format!("{} has no address: {error}", origin.host)))?;
    // As in `probe`: `localhost` often resolves to two addresses, and the server listens on one of them.
    let mut problem = format!("{} has no address", origin.host);
    for address in addresses {
        match network.open(&origin, address).await {
            Ok(Stream::Plain(stream)) => return send(stream, request).await,
            Ok(Stream::Tls(stream)) => return send(stream, request).await,
            Err(error) => problem = format!("no connection to {address}: {error}"),
        }
    }
    Err(NoResponse(problem))
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Response, NoResponse> {
    let failed = |error: &hyper::Error| NoResponse(Failure::exchange(error).to_string());
    let (mut sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failed(&error))?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let (head, body) = response.map_err(|error| failed(&error))?.into_parts();
        let body = Limited::new(body, MAX_BODY_BYTES).collect().await;
        let body =
            body.map_err(|error| NoResponse(format!("the body is incomplete or too long: {error}")))?;
        Ok((head.status, head.headers, body.to_bytes()))
    };
    // The exchange reports the errors of the connection. The driver may end first.
    let mut driver = pin!(async {
        drop(driver.await);
        future::pending::<()>().await;
    });
    tokio::select! {
        response = exchange => response,
        () = &mut driver => Err(NoResponse("the connection ended".to_owned())),
    }
}
