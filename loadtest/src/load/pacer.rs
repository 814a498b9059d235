//! A precise alarm clock for one stripe. Tokio's timers round up to the next millisecond, which at 1,000 requests
//! a second would be as long as the gap between two arrivals; a parked thread wakes within some 60 microseconds.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{Control, arrivals::Arrivals};

/// Arrivals closer than this share an alarm, so that very high rates do not spend their core on waking up.
const FINEST: Duration = Duration::from_micros(100);

/// How soon a waiting pacer sees that the load was stopped.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Rings `alarm` at the intended start of each arrival until there are no more or the load is stopped.
/// What is due by then is the listener's to work out from the clock: alarms that ring together merge into one.
pub(crate) fn ring(start: Instant, mut arrivals: Arrivals, control: &Control, alarm: &Arc<Notify>) {
    let mut next = arrivals.next();
    let mut earliest = start;
    while let Some(arrival) = next
        && !control.stopped.load(Ordering::Relaxed)
    {
        let due = (start + arrival.at).max(earliest);
        let now = Instant::now();
        if due > now {
            thread::park_timeout((due - now).min(STOP_CHECK));
            continue;
        }
        alarm.notify_one();
        earliest = now + FINEST;
        next = arrivals.find(|arrival| start + arrival.at > now);
    }
    alarm.notify_one();
}
