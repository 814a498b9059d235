//! A precise timer.
//!
//! Tokio's timers round up to the next millisecond. At 1,000 requests per second, this is the whole gap between two
//! arrivals. On Linux, a kernel timer (`timerfd`) wakes the event loop of the connections instead.

use std::{io, time::Instant};

#[cfg(target_os = "linux")]
use {
    rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
    std::os::fd::OwnedFd,
    tokio::io::{Interest, unix::AsyncFd},
};

#[cfg(target_os = "linux")]
pub(crate) struct PreciseTimer(AsyncFd<OwnedFd>);

#[cfg(target_os = "linux")]
impl PreciseTimer {
    /// Creates a timer. Must be called in the runtime that waits for the timer.
    #[expect(
        deprecated,
        reason = "the deprecated `AsyncFd` constructor is sound for an owned descriptor; its replacement is `unsafe`"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Waits until `moment`, and returns at once when `moment` has passed. The future must not be cancelled.
    pub(crate) async fn sleep_until(&self, moment: Instant) -> io::Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).map_err(io::Error::other)?,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // The next `timerfd_settime` resets the expiration count, so nothing has to be read from the timer.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

/// Tokio's timer, on systems without `timerfd`.
#[cfg(not(target_os = "linux"))]
pub(crate) struct PreciseTimer;

#[cfg(not(target_os = "linux"))]
impl PreciseTimer {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn sleep_until(&self, moment: Instant) -> io::Result<()> {
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }
}
