//! One connection: how long it may take for a head, how long it may idle, how old it may get, and how it ends
//! without a client losing a request.
//!
//! An HTTP/1.1 connection that is too old is not closed, since its client may be sending at that moment: its next
//! answer carries `connection: close`, and then it ends. HTTP/2 has GOAWAY for the same purpose.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Request, Response, Version};
use hyper::body::Incoming;
use hyper_util::rt::TokioExecutor;
use hyper_util::server::conn::auto;
use pin_project_lite::pin_project;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::HttpService;
use super::Stage;
use super::io::WatchedStream;

/// Time for a client to close its side after we closed ours.
const LINGER: Duration = Duration::from_secs(2);

/// When draining begins, a request may already be on its way over a connection that looks idle. So much time it gets.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// From the connection, or the first byte of a head, to the head's end.
    pub(super) header_read_timeout: Duration,
    /// Between two requests.
    pub(super) keep_alive_timeout: Duration,
    /// Age at which it is asked to end; spread by ±20 % so that clients do not all come back at once.
    pub(super) max_age: Option<Duration>,
}

/// What the stream and the service tell the driver. Of one connection only, and mostly from one task.
#[derive(Debug, Default)]
pub(super) struct Activity {
    /// Requests being answered.
    active: AtomicU32,
    /// Requests that have begun.
    requests: AtomicU64,
    /// Bytes came since the last request began or ended: a head is on its way.
    bytes_arrived: AtomicBool,
    is_http2: AtomicBool,
    /// The next HTTP/1.1 answer is to carry `connection: close`.
    closing: AtomicBool,
    /// Our side is closed.
    lingering: AtomicBool,
}

impl Activity {
    pub(super) fn bytes_arrived(&self) {
        self.bytes_arrived.store(true, Relaxed);
    }

    pub(super) fn linger(&self) {
        self.lingering.store(true, Relaxed);
    }

    pub(super) fn is_lingering(&self) -> bool {
        self.lingering.load(Relaxed)
    }

    fn request_began(&self, version: Version) {
        self.active.fetch_add(1, Relaxed);
        self.requests.fetch_add(1, Relaxed);
        self.bytes_arrived.store(false, Relaxed);
        if version == Version::HTTP_2 {
            self.is_http2.store(true, Relaxed);
        }
    }

    fn request_ended(&self) {
        self.bytes_arrived.store(false, Relaxed);
        self.active.fetch_sub(1, Relaxed);
    }

    fn phase(&self) -> Phase {
        if self.is_lingering() {
            Phase::Lingering
        } else if self.active.load(Relaxed) > 0 {
            Phase::Busy
        } else if self.requests.load(Relaxed) == 0
            || (self.bytes_arrived.load(Relaxed) && !self.is_http2.load(Relaxed))
        {
            Phase::ReadingHead
        } else {
            Phase::Idle
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    ReadingHead,
    Busy,
    Idle,
    Lingering,
}

impl Limits {
    fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::ReadingHead => Some(self.header_read_timeout),
            Phase::Busy => None,
            Phase::Idle => Some(self.keep_alive_timeout),
            Phase::Lingering => Some(LINGER),
        }
    }
}

/// Serves a connection until it ends, by either side or by its limits.
pub(super) async fn drive<S: HttpService>(
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
        clock.enter(*stage.borrow_and_update());
        match clock.verdict() {
            Verdict::GoOn => {}
            Verdict::GoAway => connection.as_mut().graceful_shutdown(),
            Verdict::Close => return,
        }
        let news = stage.clone();
        let mut changed = pin!(stage.changed());
        let mut registered: Option<Waker> = None;
        let mut is_listening = true;
        let mut timer = pin!(sleep_until(clock.arm()));
        let ended = poll_fn(|context| {
            // The connection first: what has arrived is served, whatever else is due.
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            // Polled once for each waker, since that takes a lock which all connections share.
            if registered
                .as_ref()
                .is_none_or(|waker| !waker.will_wake(context.waker()))
            {
                registered = Some(context.waker().clone());
                // An error says that nobody can announce the end any more, and the future must not be polled again.
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
            if clock.is_goaway_due() || news.has_changed().unwrap_or(false) {
                return Poll::Ready(false);
            }
            timer.as_mut().poll(context).map(|()| false)
        })
        .await;
        if ended {
            return;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    GoOn,
    /// HTTP/2: announce the end, once.
    GoAway,
    /// Drop the connection: nothing is in flight on it.
    Close,
}

/// Knows what is due next on a connection.
#[derive(Debug)]
struct Clock {
    limits: Limits,
    activity: Arc<Activity>,
    phase: Phase,
    requests: u64,
    /// When the phase began.
    since: Instant,
    /// When the connection is old enough; nothing once it is closing.
    closing_at: Option<Instant>,
    last_look_until: Option<Instant>,
    said_goaway: bool,
    armed: Instant,
}

impl Clock {
    fn new(limits: Limits, activity: Arc<Activity>) -> Self {
        let now = Instant::now();
        let spread = 0.8 + 0.4 * fastrand::f64();
        Self {
            phase: activity.phase(),
            activity,
            requests: 0,
            since: now,
            closing_at: limits.max_age.map(|age| now + age.mul_f64(spread)),
            last_look_until: None,
            said_goaway: false,
            armed: now,
            limits,
        }
    }

    /// The process has come to this stage.
    fn enter(&mut self, stage: Stage) {
        if stage >= Stage::Leaving {
            self.close();
        }
        if stage == Stage::Draining && self.last_look_until.is_none() {
            self.last_look_until = Some(Instant::now() + LAST_LOOK);
        }
    }

    fn close(&mut self) {
        self.closing_at = None;
        self.activity.closing.store(true, Relaxed);
    }

    /// Takes note of what the connection did; true where the timer has to ring earlier than it was set.
    fn observe(&mut self) -> bool {
        let (phase, requests) = (self.activity.phase(), self.activity.requests.load(Relaxed));
        if (phase, requests) == (self.phase, self.requests) {
            return false;
        }
        (self.phase, self.requests, self.since) = (phase, requests, Instant::now());
        self.due().is_some_and(|due| due < self.armed)
    }

    /// The time to look again, which the timer is then set to.
    fn arm(&mut self) -> Instant {
        const NEVER: Duration = Duration::from_hours(24);
        self.armed = self.due().unwrap_or_else(|| Instant::now() + NEVER);
        self.armed
    }

    fn due(&self) -> Option<Instant> {
        let last_look = self.last_look_until.filter(|_| self.is_quiet());
        [self.phase_ends(), self.closing_at, last_look]
            .into_iter()
            .flatten()
            .min()
    }

    fn phase_ends(&self) -> Option<Instant> {
        self.limits.of(self.phase).map(|limit| self.since + limit)
    }

    fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::ReadingHead)
    }

    fn is_goaway_due(&self) -> bool {
        !self.said_goaway
            && self.activity.closing.load(Relaxed)
            && self.activity.is_http2.load(Relaxed)
            // Not before its first request: the client would have connected in vain.
            && self.requests > 0
    }

    fn verdict(&mut self) -> Verdict {
        let now = Instant::now();
        let is_over = |instant: Option<Instant>| instant.is_some_and(|instant| instant <= now);
        if is_over(self.closing_at) {
            self.close();
        }
        let phase_is_over = is_over(self.phase_ends());
        let idle_http2 = self.phase == Phase::Idle && self.activity.is_http2.load(Relaxed);
        if self.is_goaway_due() || (phase_is_over && idle_http2 && !self.said_goaway) {
            self.said_goaway = true;
            // Time for what the client sent before it heard of the end.
            self.since = now;
            return Verdict::GoAway;
        }
        if phase_is_over || (self.is_quiet() && is_over(self.last_look_until)) {
            return Verdict::Close;
        }
        Verdict::GoOn
    }
}

/// The service as one connection sees it.
struct ConnectionService<S> {
    /// One request after the other is given to it, by one task: hyper has no `&mut` for what tower wants one for.
    service: RefCell<S>,
    activity: Arc<Activity>,
}

impl<S: HttpService> hyper::service::Service<Request<Incoming>> for ConnectionService<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let version = request.version();
        self.activity.request_began(version);
        let active = Active(Arc::clone(&self.activity));
        Answer {
            inner: self.service.borrow_mut().call(request),
            active,
            version,
        }
    }
}

/// A request that counts as active until its answer is ready, or it is dropped.
#[derive(Debug)]
struct Active(Arc<Activity>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

pin_project! {
    struct Answer<F> {
        #[pin]
        inner: F,
        active: Active,
        version: Version,
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(context))?;
        // In HTTP/2 the header is forbidden (RFC 9113, 8.2.2); GOAWAY says the same.
        if *this.version < Version::HTTP_2 && this.active.0.closing.load(Relaxed) {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response))
    }
}
