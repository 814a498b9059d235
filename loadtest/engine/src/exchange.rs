//! Sends one request, reads the response and checks it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    connection_pool::{ConnectionPool, Lease},
    failure::Failure,
    target::Expectations,
};

/// The number of bytes of a body that are searched for an expected text. The rest is read and counted, but not kept.
const MAX_BODY_CHECKED: usize = 1024 * 1024;

/// The response header with the name of the pod.
const SERVED_BY: &str = "x-served-by";

/// The observed properties of an exchange. They are also valid when the exchange fails or times out.
#[derive(Debug, Default)]
pub(crate) struct ExchangeDetails {
    /// The time from the intended start to the start of the exchange.
    pub(crate) lag: Duration,
    /// The time from the start of the exchange until a connection was available; `None` if none became available.
    pub(crate) connection_wait: Option<Duration>,
    /// The time to open a connection; `None` if no connection was opened.
    pub(crate) connect_time: Option<Duration>,
    /// Whether the request was sent again on a new connection: the first one closed before a byte was written.
    pub(crate) retried: bool,
    pub(crate) status: Option<u16>,
    pub(crate) served_by: Option<HeaderValue>,
    pub(crate) body_bytes: u64,
}

/// A complete response: the result of its check, and the connection.
///
/// The caller records the time first and then releases the connection.
pub(crate) struct CheckedResponse<'pool> {
    pub(crate) lease: Lease<'pool>,
    pub(crate) check: Result<(), Failure>,
}

/// Waits for a connection, sends the request that `request` creates, and reads the complete response.
///
/// Fills `details` step by step, so that they survive a timeout. Fails when there is no complete response.
pub(crate) async fn exchange<'pool>(
    pool: &'pool ConnectionPool,
    request: impl FnOnce() -> Request<Full<Bytes>>,
    expectations: &Expectations,
    details: &mut ExchangeDetails,
) -> Result<CheckedResponse<'pool>, Failure> {
    let started = Instant::now();
    let mut lease = pool.acquire().await?;
    details.connection_wait = Some(started.elapsed());
    details.connect_time = lease.connect_time();
    let response = match lease.send(request()).await {
        Ok(response) => response,
        Err(mut error) => {
            // hyper returns the request only if it wrote no byte of it, so a retry cannot run the request twice.
            // A new connection that closes is a server error: there is one retry, and only after a reused connection.
            let Some(unsent) = error.take_message().filter(|_| lease.connect_time().is_none()) else {
                return Err(Failure::exchange(error.error()));
            };
            details.retried = true;
            lease = lease.reconnect().await?;
            details.connect_time = lease.connect_time();
            lease
                .send(unsent)
                .await
                .map_err(|error| Failure::exchange(error.error()))?
        }
    };
    let check = read(response, expectations, details).await?;
    Ok(CheckedResponse { lease, check })
}

/// Reads the complete response and returns the result of its check.
async fn read(
    response: Response<Incoming>,
    expectations: &Expectations,
    details: &mut ExchangeDetails,
) -> Result<Result<(), Failure>, Failure> {
    let (head, mut body) = response.into_parts();
    details.status = Some(head.status.as_u16());
    details.served_by = head.headers.get(SERVED_BY).cloned();
    let max_kept = if expectations.bodies.is_empty() {
        0
    } else {
        MAX_BODY_CHECKED
    };
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::exchange(&error))?;
        if let Some(data) = frame.data_ref() {
            details.body_bytes += data.len() as u64;
            kept.extend_from_slice(&data[..data.len().min(max_kept - kept.len())]);
        }
    }
    if !expectations.accepts_status(head.status) {
        return Ok(Err(Failure::status(head.status)));
    }
    if !expectations.accepts_body(&kept) {
        return Ok(Err(Failure::body(&kept)));
    }
    Ok(Ok(()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::TcpListener,
        sync::mpsc,
        thread,
    };

    use tokio::runtime::LocalOptions;

    use super::*;
    use crate::{
        Mix, Network, Protocol, Target,
        dialer::Dialer,
        host::Host,
        http1_pool::{Http1Pool, PoolLimits},
    };

    /// Covers the only case of a retry: the server closes an idle connection, and the request uses this connection
    /// before the runtime notices.
    #[test]
    fn an_unwritten_request_is_retried_on_a_new_connection_and_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (closed, wait_closed) = mpsc::channel();
        let (close, wait_close) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .unwrap();
                wait_close.recv().unwrap();
                drop(stream);
                closed.send(()).unwrap();
            }
        });
        let limits = PoolLimits {
            connections: 1,
            max_idle: Duration::from_mins(1),
        };
        let target = Target::new(http::Method::GET, &format!("http://{address}/")).unwrap();
        let dialer = Dialer::new(
            Network::default(),
            target.origin(),
            Host::fixed(vec![address]),
            None,
            0,
        );
        let pool = ConnectionPool::Http1(Http1Pool::new(dialer, limits));
        let mix = Mix::new(vec![target], &[], &Bytes::new(), Protocol::Http1).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .unwrap();
        runtime.block_on(async {
            let mut first = ExchangeDetails::default();
            let response = exchange(&pool, || mix.request(0), &Expectations::default(), &mut first)
                .await
                .unwrap();
            response.lease.release().await;
            assert!(!first.retried);
            close.send(()).unwrap();
            // Blocks the runtime on purpose: the connection closes, but the runtime does not notice. After one yield,
            // tokio knows about it, but this task runs before the task of the connection.
            wait_closed.recv().unwrap();
            tokio::task::yield_now().await;
            let mut second = ExchangeDetails::default();
            let response = exchange(&pool, || mix.request(0), &Expectations::default(), &mut second)
                .await
                .unwrap();
            assert!(second.retried && response.check.is_ok());
            assert!(
                second.connect_time.is_some(),
                "the retry opens its own connection"
            );
            assert_eq!(pool.opened(), 2);
            close.send(()).unwrap();
        });
        server.join().unwrap();
    }
}
