//! One generator thread: its part of the schedule, its connections, its measurements.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task, time};

use super::{
    alarm::Alarm,
    arrivals::{Arrival, Stripe},
    connections::Connections,
    dialer::Dialer,
    exchange::{self, Traits},
    failure::Failure,
    host::Host,
    mix::Protocol,
    multiplexed::Multiplexed,
    plan::Plan,
    pool::{Pool, PoolLimits},
    record::{Ended, Recorder},
    target::Origin,
};

/// Arrivals that are launched before the connections get their turn, when many are due at once.
const BURST: u32 = 32;

/// Arrivals closer than this share a wake-up, so that very high rates do not spend their core on waking up.
const FINEST: Duration = Duration::from_micros(100);

/// How soon a load that waits for its next arrival sees that it was stopped.
const STOP_CHECK: Duration = Duration::from_millis(50);

/// How often idle connections are looked through, and finished intervals packed.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

/// Tells running stripes to stop.
#[derive(Debug, Default)]
pub(crate) struct Control {
    pub(crate) stopped: AtomicBool,
}

/// What a stripe runs on; the same for all but for `stripe` and `recorder`.
pub(crate) struct Work {
    pub(crate) start: Instant,
    pub(crate) plan: Arc<Plan>,
    pub(crate) hosts: BTreeMap<Origin, Host>,
    pub(crate) stripe: Stripe,
    pub(crate) control: Arc<Control>,
    pub(crate) recorder: Arc<Mutex<Recorder>>,
}

/// Runs the stripe to its end, drained. Blocks its thread.
pub(crate) fn run(work: Work) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let dispatcher = Rc::new(Dispatcher::new(work));
    runtime.block_on(async {
        let housekeeping = task::spawn_local(housekeeping(Rc::clone(&dispatcher)));
        let sent = dispatcher.dispatch().await;
        dispatcher.drained().await;
        housekeeping.abort();
        sent
    })?;
    dispatcher.recorder().opened = dispatcher.pools.iter().map(|pool| pool.opened()).sum();
    // A lookup that nobody waits for any more may go on.
    runtime.shutdown_background();
    Ok(())
}

struct Dispatcher {
    work: Work,
    /// The pool of each target; targets on the same host share one.
    pools_by_target: Vec<Rc<Connections>>,
    pools: Vec<Rc<Connections>>,
    in_flight: Cell<usize>,
    most_in_flight: usize,
    idle: Notify,
}

impl Dispatcher {
    fn new(work: Work) -> Self {
        let share = |whole: usize| share(whole, work.stripe);
        let connections = share(work.plan.connections);
        let pools: BTreeMap<_, _> = work
            .hosts
            .iter()
            .map(|(origin, host)| {
                let dialer = Dialer::new(
                    work.plan.network.clone(),
                    origin.clone(),
                    host.clone(),
                    work.plan.max_connection_age,
                    work.stripe.first << 32,
                );
                let pool = match work.plan.mix.protocol() {
                    Protocol::Http1 => {
                        let max_idle = work.plan.max_idle;
                        Connections::Http1(Pool::new(
                            dialer,
                            PoolLimits {
                                connections,
                                max_idle,
                            },
                        ))
                    }
                    Protocol::Http2 { streams } => {
                        Connections::Http2(Multiplexed::new(dialer, connections, streams))
                    }
                };
                (origin, Rc::new(pool))
            })
            .collect();
        let pools_by_target = work
            .plan
            .mix
            .targets()
            .iter()
            .map(|target| Rc::clone(&pools[&target.origin()]))
            .collect();
        let pools = pools.into_values().collect();
        let most_in_flight = share(work.plan.max_in_flight);
        Self {
            work,
            pools_by_target,
            pools,
            in_flight: Cell::new(0),
            most_in_flight,
            idle: Notify::new(),
        }
    }

    /// Launches each arrival when it is due, until the schedule ends or the load is stopped.
    async fn dispatch(self: &Rc<Self>) -> io::Result<()> {
        let Work {
            start,
            ref plan,
            stripe,
            ref control,
            ..
        } = self.work;
        let alarm = Alarm::new()?;
        let mut arrivals = plan.schedule.arrivals(stripe).peekable();
        let mut burst = 0;
        let mut woken = start;
        while let Some(next) = arrivals.peek()
            && !control.stopped.load(Ordering::Relaxed)
        {
            let (due, now) = (start + next.at, Instant::now());
            if due <= now {
                self.launch(*next);
                arrivals.next();
                burst += 1;
                if burst % BURST == 0 {
                    task::yield_now().await;
                }
            } else {
                alarm.at(due.max(woken + FINEST).min(now + STOP_CHECK)).await?;
                woken = Instant::now();
            }
        }
        // Only a load that was stopped has any left: those that were due by then, and not taken up, were missed.
        let now = Instant::now();
        let missed = arrivals.take_while(|arrival| start + arrival.at <= now).count();
        self.recorder().missed = missed as u64;
        Ok(())
    }

    fn launch(self: &Rc<Self>, Arrival { index, at: intended }: Arrival) {
        let target = self.work.plan.mix.choose(index);
        if self.in_flight.get() >= self.most_in_flight {
            self.recorder()
                .dropped(intended, target, self.work.start.elapsed());
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        task::spawn_local(Rc::clone(self).carry_out(intended, target));
    }

    async fn carry_out(self: Rc<Self>, intended: Duration, target: usize) {
        let in_flight = InFlight(&self);
        let plan = &self.work.plan;
        let start = self.work.start + intended;
        let deadline = (start + plan.timeout).into();
        self.recorder().sent(intended, target, start.elapsed());
        let mut traits = Traits::default();
        let exchange = exchange::exchange(
            &self.pools_by_target[target],
            || plan.mix.request(target),
            &plan.expectations,
            &mut traits,
        );
        let outcome = time::timeout_at(deadline, exchange).await;
        let latency = start.elapsed();
        let (lease, result) = match outcome {
            Ok(Ok(answer)) => (Some(answer.lease), answer.checked),
            Ok(Err(failure)) => (None, Err(failure)),
            Err(_) => (None, Err(Failure::timeout())),
        };
        self.recorder().ended(Ended {
            intended,
            target,
            latency,
            result,
            traits,
        });
        drop(in_flight);
        if let Some(lease) = lease {
            // A server that has answered and does not take the rest of the request must not keep the connection for good.
            drop(time::timeout_at(deadline, lease.give_back()).await);
        }
    }

    /// Waits for everything in flight. Each request ends by its own timeout, so this does too.
    async fn drained(&self) {
        while self.in_flight.get() > 0 {
            self.idle.notified().await;
        }
    }

    fn recorder(&self) -> std::sync::MutexGuard<'_, Recorder> {
        self.work.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has begun and not ended; whichever way it ends, it is no longer waited for.
struct InFlight<'dispatcher>(&'dispatcher Dispatcher);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let others = self.0.in_flight.get() - 1;
        self.0.in_flight.set(others);
        if others == 0 {
            self.0.idle.notify_one();
        }
    }
}

async fn housekeeping(dispatcher: Rc<Dispatcher>) {
    let mut ticks = time::interval(HOUSEKEEPING);
    loop {
        ticks.tick().await;
        dispatcher.pools.iter().for_each(|pool| pool.close_stale());
        dispatcher
            .recorder()
            .intervals
            .compact(dispatcher.work.start.elapsed());
    }
}

/// This stripe's part of a bound that holds for all stripes together; at least 1.
fn share(whole: usize, stripe: Stripe) -> usize {
    let (first, of) = (
        usize::try_from(stripe.first).unwrap_or(0),
        usize::try_from(stripe.of).unwrap_or(1),
    );
    (whole / of + usize::from(first < whole % of)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_shared_out_whole() {
        for (whole, of) in [(100, 3), (10_000, 2), (7, 4)] {
            let sum: usize = (0..of).map(|first| share(whole, Stripe { first, of })).sum();
            assert_eq!(sum, whole);
        }
    }
}
