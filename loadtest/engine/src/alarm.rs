//! A precise alarm clock. Tokio's timers round up to the next millisecond, which at 1,000 requests a second would be as
//! long as the gap between two arrivals; on Linux a timer of the kernel's own rings in the same loop as the connections do.

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
pub(crate) struct Alarm(AsyncFd<OwnedFd>);

#[cfg(target_os = "linux")]
impl Alarm {
    /// To be called in the runtime that it is waited for in.
    #[expect(
        deprecated,
        reason = "an owned descriptor is what it says; what is to be used instead is `unsafe`"
    )]
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Resolves at `moment`, or at once where that is over. To be awaited to its end.
    pub(crate) async fn at(&self, moment: Instant) -> io::Result<()> {
        let left = moment.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(left).map_err(io::Error::other)?,
        };
        timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once)?;
        // Setting it the next time takes back what it rang, so that there is nothing to read.
        self.0.readable().await?.clear_ready();
        Ok(())
    }
}

/// Where there is no such timer, tokio's.
#[cfg(not(target_os = "linux"))]
pub(crate) struct Alarm;

#[cfg(not(target_os = "linux"))]
impl Alarm {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn at(&self, moment: Instant) -> io::Result<()> {
        tokio::time::sleep_until(moment.into()).await;
        Ok(())
    }
}
