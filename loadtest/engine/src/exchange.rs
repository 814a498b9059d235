//! One request and its answer, and what became of it.

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

/// As much of a body as is looked at for an expected text; longer ones are read and counted, but not kept.
const MAX_BODY_CHECKED: usize = 1024 * 1024;

/// The header that names the pod which answered.
const SERVED_BY: &str = "x-served-by";

/// What is known of an exchange, also of one that was cut short.
#[derive(Debug, Default)]
pub(crate) struct ExchangeDetails {
    /// From being taken up to having a connection in hand, where it got that far.
    pub(crate) connection_wait: Option<Duration>,
    /// How long opening a connection took, where one had to be opened.
    pub(crate) connect_time: Option<Duration>,
    /// Sent again on a fresh connection, the first one having closed before a byte of the request was written.
    pub(crate) retried: bool,
    pub(crate) status: Option<u16>,
    pub(crate) served_by: Option<HeaderValue>,
    pub(crate) body_bytes: u64,
}

/// A whole answer: whether it is the one expected, and the connection, for the caller to give back once it has noted
/// the time.
pub(crate) struct CheckedResponse<'pool> {
    pub(crate) lease: Lease<'pool>,
    pub(crate) checked: Result<(), Failure>,
}

/// Sends what `request` makes, once there is a connection for it, and reads the whole answer. Fills `details` as it goes, so that they survive a timeout.
/// The error is that of a request without a whole answer.
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
            // hyper hands the request back only where none of it was written: sending it again cannot do anything
            // twice. Once, and only where the connection was an old one: a fresh one that closes is the server's fault.
            let Some(unsent) = error.take_message().filter(|_| lease.connect_time().is_none()) else {
                return Err(Failure::exchange(error.error()));
            };
            details.retried = true;
            lease = lease.replace().await?;
            details.connect_time = lease.connect_time();
            lease
                .send(unsent)
                .await
                .map_err(|error| Failure::exchange(error.error()))?
        }
    };
    let checked = read(response, expectations, details).await?;
    Ok(CheckedResponse { lease, checked })
}

async fn read(
    response: Response<Incoming>,
    expectations: &Expectations,
    details: &mut ExchangeDetails,
) -> Result<Result<(), Failure>, Failure> {
    let (head, mut body) = response.into_parts();
    details.status = Some(head.status.as_u16());
    details.served_by = head.headers.get(SERVED_BY).cloned();
    let keep = if expectations.bodies.is_empty() {
        0
    } else {
        MAX_BODY_CHECKED
    };
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::exchange(&error))?;
        if let Some(data) = frame.data_ref() {
            details.body_bytes += data.len() as u64;
            kept.extend_from_slice(&data[..data.len().min(keep - kept.len())]);
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

    /// The one case in which a request may be sent again: the server has closed an idle connection, the runtime has
    /// not had a turn to notice, and the request is handed to that connection.
    #[test]
    fn a_request_of_which_nothing_was_written_goes_out_on_a_fresh_connection_and_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (closed, is_closed) = mpsc::channel();
        let (close, may_close) = mpsc::channel::<()>();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                assert!(stream.read(&mut request).unwrap() > 0);
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    .unwrap();
                may_close.recv().unwrap();
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
            let answer = exchange(&pool, || mix.request(0), &Expectations::default(), &mut first)
                .await
                .unwrap();
            answer.lease.release().await;
            assert!(!first.retried);
            close.send(()).unwrap();
            // Blocks the runtime on purpose, so that the end of the connection is there, and not noticed. One turn then
            // tells tokio of it, but this task goes on before the connection's own.
            is_closed.recv().unwrap();
            tokio::task::yield_now().await;
            let mut second = ExchangeDetails::default();
            let answer = exchange(&pool, || mix.request(0), &Expectations::default(), &mut second)
                .await
                .unwrap();
            assert!(second.retried && answer.checked.is_ok());
            assert!(
                second.connect_time.is_some(),
                "the second try has a connection of its own"
            );
            assert_eq!(pool.opened(), 2);
            close.send(()).unwrap();
        });
        server.join().unwrap();
    }
}
