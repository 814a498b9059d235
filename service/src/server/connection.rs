//! One connection: serves requests until the client, a limit or a shutdown closes it, without losing a request.
//!
//! An HTTP/1.1 connection that is too old is not closed at once, because its client may be sending a request. The next
//! response carries `connection: close`, and then the connection closes. HTTP/2 has GOAWAY for this purpose.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::activity::Activity;
use super::clock::{Clock, Limits, Verdict};
use super::http_service::HttpService;
use super::io::WatchedStream;
use super::stage::Stage;

/// Serves a connection until either side or a limit closes it.
pub(super) async fn serve<S: HttpService>(
    builder: Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
    service: S,
    limits: Limits,
    mut stage: watch::Receiver<Stage>,
) {
    let activity = Arc::new(Activity::default());
    let stream = WatchedStream::new(stream, Arc::clone(&activity));
    let service = ConnectionService {
        service: RefCell::new(service),
        activity: Arc::clone(&activity),
    };
    let mut connection = pin!(builder.serve_connection(stream, service));
    let mut clock = Clock::new(limits, activity);
    loop {
        let current = *stage.borrow_and_update();
        clock.enter(current);
        match clock.verdict() {
            Verdict::Continue => {}
            Verdict::GoAway => connection.as_mut().graceful_shutdown(),
            Verdict::Close => return,
        }
        let latest_stage = stage.clone();
        let mut changed = pin!(stage.changed());
        let mut registered: Option<Waker> = None;
        let mut is_listening = true;
        let mut timer = pin!(sleep_until(clock.arm()));
        let closed = poll_fn(|context| {
            // Polls the connection first: a request that has arrived is served, even if a limit has expired.
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
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
                        return Poll::Ready(false);
                    }
                }
            }
            if clock.observe() {
                timer.as_mut().reset(clock.arm());
            }
            if clock.is_goaway_due() || latest_stage.has_changed().unwrap_or(false) {
                return Poll::Ready(false);
            }
            timer.as_mut().poll(context).map(|()| false)
        })
        .await;
        if closed {
            return;
        }
    }
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
            active,
            version,
        }
    }
}

/// Counts a request as in flight until its response is ready, or until it is dropped.
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
        active: Active,
        version: Version,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for ResponseFuture<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        // HTTP/2 forbids this header (RFC 9113, 8.2.2) and has GOAWAY instead.
        if *this.version < Version::HTTP_2 && this.active.0.is_closing() {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}
