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
    timer::PreciseTimer,
    arrivals::{Arrival, Stripe},
    connection_pool::ConnectionPool,
    dialer::Dialer,
    exchange::{self, ExchangeDetails},
    failure::Failure,
    host::Host,
    mix::Protocol,
    http2_pool::Http2Pool,
    plan::Plan,
    http1_pool::{Http1Pool, PoolLimits},
    record::{CompletedRequest, Recorder},
    target::Origin,
};

/// Arrivals that are launched before the connections get their turn, when many are due at once.
const LAUNCHES_PER_YIELD: u32 = 32;

/// Arrivals closer than this share a wake-up, so that very high rates do not spend their core on waking up.
const MIN_WAKE_INTERVAL: Duration = Duration::from_micros(100);

/// How soon a load that waits for its next arrival sees that it was stopped.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// How often idle connections are looked through, and finished intervals packed.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

/// Tells running stripes to stop.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    pub(crate) stopped: AtomicBool,
}

/// What a stripe runs on; the same for all but for `stripe` and `recorder`.
pub(crate) struct StripeSetup {
    pub(crate) start: Instant,
    pub(crate) plan: Arc<Plan>,
    pub(crate) hosts: BTreeMap<Origin, Host>,
    pub(crate) stripe: Stripe,
    pub(crate) stop_flag: Arc<StopFlag>,
    pub(crate) recorder: Arc<Mutex<Recorder>>,
}

/// Runs the stripe to its end, drained. Blocks its thread.
pub(crate) fn run(setup: StripeSetup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let dispatcher = Rc::new(Dispatcher::new(setup));
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
    setup: StripeSetup,
    /// The pool of each target; targets on the same host share one.
    pools_by_target: Vec<Rc<ConnectionPool>>,
    pools: Vec<Rc<ConnectionPool>>,
    in_flight: Cell<usize>,
    max_in_flight: usize,
    all_completed: Notify,
}

impl Dispatcher {
    fn new(setup: StripeSetup) -> Self {
        let share = |whole: usize| share(whole, setup.stripe);
        let connections = share(setup.plan.connections);
        let pools: BTreeMap<_, _> = setup
            .hosts
            .iter()
            .map(|(origin, host)| {
                let dialer = Dialer::new(
                    setup.plan.network.clone(),
                    origin.clone(),
                    host.clone(),
                    setup.plan.max_connection_age,
                    setup.stripe.first << 32,
                );
                let pool = match setup.plan.mix.protocol() {
                    Protocol::Http1 => {
                        let max_idle = setup.plan.max_idle;
                        ConnectionPool::Http1(Http1Pool::new(
                            dialer,
                            PoolLimits {
                                connections,
                                max_idle,
                            },
                        ))
                    }
                    Protocol::Http2 { streams } => {
                        ConnectionPool::Http2(Http2Pool::new(dialer, connections, streams))
                    }
                };
                (origin, Rc::new(pool))
            })
            .collect();
        let pools_by_target = setup
            .plan
            .mix
            .targets()
            .iter()
            .map(|target| Rc::clone(&pools[&target.origin()]))
            .collect();
        let pools = pools.into_values().collect();
        let max_in_flight = share(setup.plan.max_in_flight);
        Self {
            setup,
            pools_by_target,
            pools,
            in_flight: Cell::new(0),
            max_in_flight,
            all_completed: Notify::new(),
        }
    }

    /// Launches each arrival when it is due, until the schedule ends or the load is stopped.
    async fn dispatch(self: &Rc<Self>) -> io::Result<()> {
        let StripeSetup {
            start,
            ref plan,
            stripe,
            ref stop_flag,
            ..
        } = self.setup;
        let timer = PreciseTimer::new()?;
        let mut arrivals = plan.schedule.arrivals(stripe).peekable();
        let mut burst = 0;
        let mut woken = start;
        while let Some(next) = arrivals.peek()
            && !stop_flag.stopped.load(Ordering::Relaxed)
        {
            let (due, now) = (start + next.at, Instant::now());
            if due <= now {
                self.launch(*next);
                arrivals.next();
                burst += 1;
                if burst % LAUNCHES_PER_YIELD == 0 {
                    task::yield_now().await;
                }
            } else {
                timer.sleep_until(due.max(woken + MIN_WAKE_INTERVAL).min(now + STOP_CHECK_INTERVAL)).await?;
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
        let target = self.setup.plan.mix.choose(index);
        if self.in_flight.get() >= self.max_in_flight {
            self.recorder()
                .record_dropped(intended, target, self.setup.start.elapsed());
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        task::spawn_local(Rc::clone(self).run_request(intended, target));
    }

    async fn run_request(self: Rc<Self>, intended: Duration, target: usize) {
        let in_flight = InFlight(&self);
        let plan = &self.setup.plan;
        let start = self.setup.start + intended;
        let deadline = (start + plan.timeout).into();
        self.recorder().record_sent(intended, target, start.elapsed());
        let mut details = ExchangeDetails::default();
        let exchange = exchange::exchange(
            &self.pools_by_target[target],
            || plan.mix.request(target),
            &plan.expectations,
            &mut details,
        );
        let outcome = time::timeout_at(deadline, exchange).await;
        let latency = start.elapsed();
        let (lease, result) = match outcome {
            Ok(Ok(answer)) => (Some(answer.lease), answer.checked),
            Ok(Err(failure)) => (None, Err(failure)),
            Err(_) => (None, Err(Failure::timeout())),
        };
        self.recorder().record_completed(CompletedRequest {
            intended,
            target,
            latency,
            result,
            details,
        });
        drop(in_flight);
        if let Some(lease) = lease {
            // A server that has answered and does not take the rest of the request must not keep the connection for good.
            drop(time::timeout_at(deadline, lease.release()).await);
        }
    }

    /// Waits for everything in flight. Each request ends by its own timeout, so this does too.
    async fn drained(&self) {
        while self.in_flight.get() > 0 {
            self.all_completed.notified().await;
        }
    }

    fn recorder(&self) -> std::sync::MutexGuard<'_, Recorder> {
        self.setup.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has begun and not ended; whichever way it ends, it is no longer waited for.
struct InFlight<'dispatcher>(&'dispatcher Dispatcher);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let others = self.0.in_flight.get() - 1;
        self.0.in_flight.set(others);
        if others == 0 {
            self.0.all_completed.notify_one();
        }
    }
}

async fn housekeeping(dispatcher: Rc<Dispatcher>) {
    let mut ticks = time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        ticks.tick().await;
        dispatcher.pools.iter().for_each(|pool| pool.close_stale());
        dispatcher
            .recorder()
            .intervals
            .compact(dispatcher.setup.start.elapsed());
    }
}

/// This stripe's part of a bound that holds for all stripes together; at least 1.
fn share(whole: usize, stripe: Stripe) -> usize {
    let (first, count) = (
        usize::try_from(stripe.first).unwrap_or(0),
        usize::try_from(stripe.count).unwrap_or(1),
    );
    (whole / count + usize::from(first < whole % count)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_shared_out_whole() {
        for (whole, count) in [(100, 3), (10_000, 2), (7, 4)] {
            let sum: usize = (0..count).map(|first| share(whole, Stripe { first, count })).sum();
            assert_eq!(sum, whole);
        }
    }
}
