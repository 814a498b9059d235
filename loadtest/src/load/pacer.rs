//! A precise alarm clock for one stripe. Tokio's timers round up to the next millisecond, which at 1,000 requests
//! a second would be as long as the gap between two arrivals; a parked thread wakes within some 60 microseconds.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::Notify;

use super::{
    Control,
    schedule::{Schedule, Stripe},
};

/// Arrivals closer than this share an alarm, so that very high rates do not spend their core on waking up.
const FINEST: Duration = Duration::from_micros(100);

/// How soon a waiting pacer sees that the load was stopped.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// Rings `alarm` at the intended start of each arrival of the stripe until the schedule ends or the load is stopped.
/// What is due by then is the listener's to work out from the clock: alarms that ring together merge into one.
pub(crate) fn ring(
    start: Instant,
    schedule: Schedule,
    stripe: Stripe,
    control: &Control,
    alarm: &Arc<Notify>,
) {
    let total = schedule.total();
    let mut next = stripe.first;
    let mut earliest = start;
    while next < total && !control.stopped.load(Ordering::Relaxed) {
        let due = (start + schedule.arrival(next)).max(earliest);
        let now = Instant::now();
        if due > now {
            thread::park_timeout((due - now).min(STOP_CHECK));
            continue;
        }
        alarm.notify_one();
        earliest = now + FINEST;
        let behind = schedule
            .due(now.saturating_duration_since(start))
            .saturating_sub(next);
        next += behind.div_ceil(stripe.of) * stripe.of;
    }
    alarm.notify_one();
}
