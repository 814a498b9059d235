//! The clock of one connection: decides when the connection has to close.
//!
//! The clock does no I/O. It reads the [`Activity`] of the connection and the time.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::activity::{Activity, Phase};
use super::ending::Ending;
use super::stage::Stage;

/// How long a client may take to close its side after the server has closed its own.
const LINGER: Duration = Duration::from_secs(2);

/// How long a connection without a request in flight stays open once draining starts. A request may already be on its
/// way.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// The limits of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The time for a TLS handshake, and the time for a head, from the open connection or the first byte of the head.
    pub(super) header_read_timeout: Duration,
    /// The time between two requests, and the time in which a client must read a part of a response.
    pub(super) keep_alive_timeout: Duration,
    /// The age at which the connection starts to close. Varied by ±20 %, so that clients do not reconnect all at once.
    pub(super) max_age: Option<Duration>,
}

impl Limits {
    fn of(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::Handshake | Phase::ReadingHead => Some(self.header_read_timeout),
            Phase::Busy => None,
            Phase::Idle | Phase::Writing => Some(self.keep_alive_timeout),
            Phase::Lingering => Some(LINGER),
        }
    }
}

/// What the driver of the connection must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Keep serving.
    Continue,
    /// Send GOAWAY on an HTTP/2 connection. Returned once.
    GoAway,
    /// Drop the connection.
    Close(Ending),
}

/// The clock of one connection.
#[derive(Debug)]
pub(super) struct Clock {
    limits: Limits,
    activity: Arc<Activity>,
    phase: Phase,
    requests: u64,
    /// The start of the phase.
    since: Instant,
    /// When the connection reaches its maximum age. `None` once it is closing.
    closing_at: Option<Instant>,
    /// When a connection without a request in flight closes. `None` until draining starts.
    drain_grace_until: Option<Instant>,
    stage: Stage,
    sent_goaway: bool,
    armed: Instant,
}

impl Clock {
    pub(super) fn new(limits: Limits, activity: Arc<Activity>) -> Self {
        let now = Instant::now();
        let spread = 0.8 + 0.4 * fastrand::f64();
        Self {
            phase: activity.phase(),
            activity,
            requests: 0,
            since: now,
            closing_at: limits.max_age.map(|age| now + age.mul_f64(spread)),
            drain_grace_until: None,
            stage: Stage::Serving,
            sent_goaway: false,
            armed: now,
            limits,
        }
    }

    /// Records the stage of the process.
    pub(super) fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        if stage >= Stage::DrainDelay {
            self.start_closing();
        }
        if stage >= Stage::Draining && self.drain_grace_until.is_none() {
            self.drain_grace_until = Some(Instant::now() + DRAIN_GRACE);
        }
    }

    fn start_closing(&mut self) {
        self.closing_at = None;
        self.activity.close();
    }

    /// Records the activity since the last call. Returns whether the timer must fire earlier than it was armed for.
    pub(super) fn observe(&mut self) -> bool {
        let (phase, requests) = (self.activity.phase(), self.activity.requests());
        if (phase, requests) == (self.phase, self.requests) {
            return false;
        }
        let now = Instant::now();
        if self.phase == Phase::Handshake && self.drain_grace_until.is_some() {
            // The client can send its request only now.
            self.drain_grace_until = Some(now + DRAIN_GRACE);
        }
        (self.phase, self.requests, self.since) = (phase, requests, now);
        self.due().is_some_and(|due| due < self.armed)
    }

    /// Returns the time of the next verdict, and records that the timer is armed for it.
    pub(super) fn arm(&mut self) -> Instant {
        const NEVER: Duration = Duration::from_hours(24);
        self.armed = self.due().unwrap_or_else(|| Instant::now() + NEVER);
        self.armed
    }

    fn due(&self) -> Option<Instant> {
        let drain_grace = self.drain_grace_until.filter(|_| self.is_quiet());
        [self.phase_ends(), self.closing_at, drain_grace]
            .into_iter()
            .flatten()
            .min()
    }

    fn phase_ends(&self) -> Option<Instant> {
        self.limits.of(self.phase).map(|limit| self.since + limit)
    }

    fn is_quiet(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::ReadingHead | Phase::Handshake)
    }

    pub(super) fn is_goaway_due(&self) -> bool {
        !self.sent_goaway
            && self.activity.is_closing()
            && self.activity.is_http2()
            // Not before the first request: otherwise the client would have to connect again before any request.
            && self.requests > 0
    }

    pub(super) fn verdict(&mut self) -> Verdict {
        if self.stage == Stage::Deadline {
            let is_in_flight = matches!(self.phase, Phase::Busy | Phase::Writing);
            return Verdict::Close(if is_in_flight {
                Ending::Aborted
            } else {
                Ending::Shutdown
            });
        }
        let now = Instant::now();
        let is_over = |instant: Option<Instant>| instant.is_some_and(|instant| instant <= now);
        if is_over(self.closing_at) {
            self.start_closing();
        }
        let phase_is_over = is_over(self.phase_ends());
        let idle_http2 = self.phase == Phase::Idle && self.activity.is_http2();
        if self.is_goaway_due() || (phase_is_over && idle_http2 && !self.sent_goaway) {
            self.sent_goaway = true;
            // The phase restarts: requests that the client sent before it received GOAWAY may still arrive.
            self.since = now;
            return Verdict::GoAway;
        }
        if phase_is_over {
            return Verdict::Close(match self.phase {
                Phase::Handshake => Ending::HandshakeTimeout,
                Phase::ReadingHead => Ending::HeaderTimeout,
                Phase::Idle => self.ending_by_the_server().unwrap_or(Ending::IdleTimeout),
                Phase::Writing => Ending::WriteTimeout,
                Phase::Busy | Phase::Lingering => self.completed(),
            });
        }
        if self.is_quiet() && is_over(self.drain_grace_until) {
            return Verdict::Close(Ending::Shutdown);
        }
        Verdict::Continue
    }

    /// Returns the ending of a connection that closed after a response or by its client.
    pub(super) fn completed(&self) -> Ending {
        self.ending_by_the_server().unwrap_or(Ending::Client)
    }

    /// Returns the ending of a connection that broke.
    pub(super) fn broken(&self) -> Ending {
        if self.activity.phase() == Phase::Handshake {
            Ending::HandshakeFailed
        } else {
            Ending::Error
        }
    }

    /// Returns the reason if the server asked the client to close.
    fn ending_by_the_server(&self) -> Option<Ending> {
        if self.stage >= Stage::DrainDelay {
            Some(Ending::Shutdown)
        } else {
            self.activity.is_closing().then_some(Ending::MaxAge)
        }
    }
}

#[cfg(test)]
mod tests;
