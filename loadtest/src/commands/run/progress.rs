//! Progress during a load: one line per second, which a terminal overwrites in place.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use engine::{
    Interrupt, Load, Snapshot, Threshold,
    units::{MaxFailed, short},
};
use tokio::time::{self, MissedTickBehavior};

/// Shows progress until every request has ended. Returns whether a signal stopped the load.
///
/// Ends the load early when `abort` says so.
pub(super) async fn until_drained(
    load: &mut Load,
    (warm_up, planned): (Duration, Duration),
    abort: Option<Abort<'_>>,
    interrupt: &mut Interrupt,
) -> anyhow::Result<bool> {
    let mut line = ProgressLine {
        is_terminal: io::stderr().is_terminal(),
        previous: Snapshot {
            warm_up_left: warm_up,
            ..Snapshot::default()
        },
    };
    let mut ticks = time::interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks.tick().await;
    let (mut interrupted, mut aborted) = (false, false);
    loop {
        tokio::select! {
            ended = load.drained() => {
                ended?;
                line.clear();
                return Ok(interrupted);
            }
            () = interrupt.requested(), if !interrupted => {
                interrupted = true;
                load.stop();
                line.clear();
                crate::output::status(
                    "stopping: waiting for the requests in flight; a second signal stops at once without a report"
                );
            }
            _ = ticks.tick() => {
                line.update(load.snapshot(), planned);
                let is_sending = !interrupted && !aborted && load.elapsed() < planned;
                let broken = abort.as_ref().filter(|_| is_sending).and_then(|abort| abort.reason(load));
                if let Some(reason) = broken {
                    aborted = true;
                    line.clear();
                    crate::output::status(format_args!("ending early: {reason}; waiting for the requests in flight"));
                    load.end_early(reason);
                }
            }
        }
    }
}

/// The bounds that end a load early when they are broken.
pub(super) struct Abort<'a> {
    /// The minimum time: before it, counted from the start of the measured part, no bound is checked.
    pub(super) after: Duration,
    pub(super) max_failed: MaxFailed,
    pub(super) thresholds: &'a [Threshold],
}

impl Abort<'_> {
    /// Returns the bound that is broken now, if the minimum time is over.
    fn reason(&self, load: &Load) -> Option<String> {
        if load.elapsed() < self.after {
            return None;
        }
        load.report_so_far()
            .broken_so_far(self.max_failed, self.thresholds)
    }
}

struct ProgressLine {
    is_terminal: bool,
    previous: Snapshot,
}

impl ProgressLine {
    fn update(&mut self, now: Snapshot, planned: Duration) {
        let text = describe(&self.previous, &now, planned);
        self.previous = now;
        if self.is_terminal {
            crate::output::status_text(format_args!("\r\x1b[2K{text}"));
        } else {
            crate::output::status(text);
        }
    }

    /// Erases the line on a terminal.
    fn clear(&self) {
        if self.is_terminal {
            crate::output::status_text("\r\x1b[2K");
        }
    }
}

fn describe(before: &Snapshot, now: &Snapshot, planned: Duration) -> String {
    let elapsed =
        now.elapsed.saturating_sub(before.elapsed) + before.warm_up_left.saturating_sub(now.warm_up_left);
    let seconds = elapsed.as_secs_f64().max(f64::EPSILON);
    let sent = |snapshot: &Snapshot| snapshot.warm_up.sent + snapshot.counts.sent;
    #[expect(
        clippy::cast_precision_loss,
        reason = "the requests of one second, for display"
    )]
    let rate = (sent(now) - sent(before)) as f64 / seconds;
    let (position, failed) = if now.warm_up_left.is_zero() {
        let position = format!(
            "{:>4} of {} s",
            now.elapsed.as_secs(),
            short(planned.as_secs_f64())
        );
        (position, now.counts.failed)
    } else {
        let left = now.warm_up_left.as_secs_f64().ceil();
        (format!("warm-up, {} s left", short(left)), now.warm_up.failed)
    };
    let milliseconds = |value: Option<f64>| value.map_or("-".to_owned(), short);
    format!(
        "{position}  {:>7} requests/s  p50 {} ms  p99 {} ms  in flight {}  failed {failed}",
        short(rate),
        milliseconds(now.latency.p50),
        milliseconds(now.latency.p99),
        now.warm_up.in_flight() + now.counts.in_flight(),
    )
}
