//! One connection: serves requests until the client, a limit or a shutdown closes it, without losing a request.
//!
//! An HTTP/1.1 connection that is too old is not closed at once, because its client may be sending a request. The next
//! response carries `connection: close`, and then the connection closes. HTTP/2 has GOAWAY for this purpose.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use futures_util::FutureExt as _;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::activity::Activity;
use super::clock::{Clock, Limits, Verdict};
use super::ending::Ending;
use super::http_service::HttpService;
use super::io::WatchedStream;
use super::stage::Stage;

/// Serves a connection until either side or a limit closes it. Returns the reason.
pub(super) async fn serve<S: HttpService>(
    builder: Arc<auto::Builder<TokioExecutor>>,
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    activity: Arc<Activity>,
    service: S,
    limits: Limits,
    mut stage: watch::Receiver<Stage>,
) -> Ending {
    let stream = WatchedStream::new(stream, Arc::clone(&activity));
    let service = ConnectionService {
        service: RefCell::new(service),
        activity: Arc::clone(&activity),
    };
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut clock = Clock::new(limits, Arc::clone(&activity));
    loop {
        let current = *stage.borrow_and_update();
        clock.observe();
        clock.enter(current);
        match clock.verdict() {
            Verdict::Continue => {}
            Verdict::GoAway => connection.as_mut().graceful_shutdown(),
            Verdict::Close(ending) if activity.is_lingering() => {
                // The connection is complete, except that the client has not closed its side. The outcome of the
                // connection is the reason for its end.
                activity.end_linger();
                let outcome = connection.as_mut().now_or_never();
                return outcome.map_or(ending, |outcome| reason(outcome, &clock));
            }
            Verdict::Close(ending) => return ending,
        }
        let latest_stage = stage.clone();
        let mut changed = pin!(stage.changed());
        let mut registered: Option<Waker> = None;
        let mut is_listening = true;
        let mut timer = pin!(sleep_until(clock.arm()));
        let outcome = poll_fn(|context| {
            // The connection first: a request that has arrived is served, even if the clock is due.
            if let Poll::Ready(outcome) = connection.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            // While serving, polled once per waker, because polling takes a lock that all connections share. After the
            // first change, the notification of that change may arrive late and wake this task for nothing. Only
            // another poll registers it for the next change.
            if current > Stage::Serving
                || registered
                    .as_ref()
                    .is_none_or(|waker| !waker.will_wake(context.waker()))
            {
                registered = Some(context.waker().clone());
                // After an error there is no sender any more, and the future must not be polled again.
                if is_listening && let Poll::Ready(outcome) = changed.as_mut().poll(context) {
                    is_listening = outcome.is_ok();
                    if is_listening {
                        return Poll::Ready(None);
                    }
                }
            }
            if clock.observe() {
                timer.as_mut().reset(clock.arm());
            }
            if clock.is_goaway_due() || latest_stage.has_changed().unwrap_or(false) {
                return Poll::Ready(None);
            }
            timer.as_mut().poll(context).map(|()| None)
        })
        .await;
        if let Some(outcome) = outcome {
            return reason(outcome, &clock);
        }
    }
}

/// Returns why a connection completed.
fn reason(outcome: Result<(), Box<dyn Error + Send + Sync>>, clock: &Clock) -> Ending {
    match outcome {
        Ok(()) => clock.completed(),
        Err(error) if is_invalid_http(&*error) => Ending::InvalidRequest,
        Err(error) => {
            let ending = clock.broken();
            if ending == Ending::HandshakeFailed {
                tracing::debug!(%error, "TLS handshake failed");
            }
            ending
        }
    }
}

/// Whether hyper closed the connection because the client did not send valid HTTP. In HTTP/2 it then sends GOAWAY.
fn is_invalid_http(error: &(dyn Error + 'static)) -> bool {
    let Some(error) = error.downcast_ref::<hyper::Error>() else {
        return false;
    };
    let http2 = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>());
    error.is_parse() || http2.is_some_and(|error| error.is_go_away() && error.is_library())
}

/// The service, with the bookkeeping of one connection.
struct ConnectionService<S> {
    /// tower's `call` needs `&mut`, and hyper offers only `&`. One task calls the service, so the cell is never
    /// borrowed twice.
    service: RefCell<S>,
    activity: Arc<Activity>,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let version = request.version();
        self.activity.request_started(version);
        let active = Active(Arc::clone(&self.activity));
        ResponseFuture {
            inner: self.service.borrow_mut().call(request),
            active: Some(active),
            version,
        }
    }
}

/// Counts a request as in flight until its response is complete, or until it is dropped.
#[derive(Debug)]
struct Active(Arc<Activity>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.request_completed();
    }
}

pin_project! {
    struct ResponseFuture<F> {
        #[pin]
        inner: F,
        active: Option<Active>,
        version: Version,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for ResponseFuture<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        let active = this.active.take();
        // HTTP/2 forbids this header (RFC 9113, 8.2.2) and has GOAWAY instead.
        if *this.version < Version::HTTP_2 && active.as_ref().is_some_and(|active| active.0.is_closing()) {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // A body of known size is complete. The handler still produces any other body.
        if response.body().size_hint().exact().is_some() {
            return Poll::Ready(Ok(response));
        }
        Poll::Ready(Ok(response.map(|inner| Body::new(StreamedBody { inner, active }))))
    }
}

pin_project! {
    /// A body that the handler still produces. Its request is in flight until the body ends.
    struct StreamedBody {
        #[pin]
        inner: Body,
        active: Option<Active>,
    }
}

impl HttpBody for StreamedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(context));
        if frame.is_none() {
            *this.active = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
