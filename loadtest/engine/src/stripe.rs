//! One generator thread: its part of the schedule, its connections and its measurements.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    rc::Rc,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task, time};

use super::{
    arrivals::{Arrival, Stripe},
    connection_pool::ConnectionPool,
    dialer::Dialer,
    exchange::{self, ExchangeDetails},
    failure::Failure,
    host::Host,
    http1_pool::{Http1Pool, PoolLimits},
    http2_pool::Http2Pool,
    mix::Protocol,
    plan::Plan,
    record::{CompletedRequest, Recorder},
    schedule::Schedule,
    target::Origin,
    timer::PreciseTimer,
};

/// The number of due arrivals to launch before yielding to the connections.
const LAUNCHES_PER_YIELD: u32 = 32;

/// The minimum time between two wake-ups. Closer arrivals share one, so that high rates do not waste CPU time.
const MIN_WAKE_INTERVAL: Duration = Duration::from_micros(100);

/// The maximum time until a load that waits for its next arrival checks the stop flag.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// The interval at which stale connections are closed and completed intervals are encoded.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

/// Signals running stripes to stop.
#[derive(Debug, Default)]
pub(crate) struct StopFlag {
    pub(crate) stopped: AtomicBool,
}

/// A part of the load with its own start and its own measurements.
pub(crate) struct Phase {
    pub(crate) start: Instant,
    pub(crate) schedule: Schedule,
    pub(crate) recorder: Arc<Mutex<Recorder>>,
}

impl Phase {
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The positions of the phases.
const WARM_UP: usize = 0;
const MEASURED: usize = 1;

/// The inputs of a stripe. Only `stripe` and the recorders differ between the stripes of a load.
pub(crate) struct StripeSetup {
    /// The warm-up, and the measured part after it.
    pub(crate) phases: [Phase; 2],
    pub(crate) plan: Arc<Plan>,
    pub(crate) hosts: BTreeMap<Origin, Host>,
    pub(crate) stripe: Stripe,
    pub(crate) stop_flag: Arc<StopFlag>,
}

/// Runs the stripe until all its requests have completed. Blocks the thread.
pub(crate) fn run(setup: StripeSetup) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let dispatcher = Rc::new(Dispatcher::new(setup));
    let opened_in_warm_up = runtime.block_on(async {
        let housekeeping = task::spawn_local(housekeeping(Rc::clone(&dispatcher)));
        let result = dispatcher.dispatch_phases().await;
        dispatcher.drained().await;
        housekeeping.abort();
        result
    })?;
    dispatcher.setup.phases[MEASURED].recorder().opened = dispatcher.opened() - opened_in_warm_up;
    // Does not wait for a running DNS lookup, which no request needs any more.
    runtime.shutdown_background();
    Ok(())
}

struct Dispatcher {
    setup: StripeSetup,
    /// The connection pool of each target. Targets with the same origin share a pool.
    pools_by_target: Vec<Rc<ConnectionPool>>,
    pools: Vec<Rc<ConnectionPool>>,
    in_flight: Cell<usize>,
    max_in_flight: usize,
    all_completed: Notify,
}

impl Dispatcher {
    fn new(setup: StripeSetup) -> Self {
        let connections = stripe_share(setup.plan.connections, setup.stripe);
        let pools: BTreeMap<_, _> = setup
            .hosts
            .iter()
            .map(|(origin, host)| {
                let dialer = Dialer::new(
                    setup.plan.network.clone(),
                    origin.clone(),
                    host.clone(),
                    setup.plan.max_connection_age,
                    setup.stripe.first,
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
        let max_in_flight = stripe_share(setup.plan.max_in_flight, setup.stripe);
        Self {
            setup,
            pools_by_target,
            pools,
            in_flight: Cell::new(0),
            max_in_flight,
            all_completed: Notify::new(),
        }
    }

    /// Returns the number of connections opened so far.
    fn opened(&self) -> u64 {
        self.pools.iter().map(|pool| pool.opened()).sum()
    }

    fn is_stopped(&self) -> bool {
        self.setup.stop_flag.stopped.load(Ordering::Relaxed)
    }

    /// Dispatches the warm-up and the measured part. Returns the number of connections opened before the measured part.
    async fn dispatch_phases(self: &Rc<Self>) -> io::Result<u64> {
        let timer = PreciseTimer::new()?;
        self.dispatch(WARM_UP, &timer).await?;
        self.wait_until(self.setup.phases[MEASURED].start, &timer).await?;
        let opened = self.opened();
        self.dispatch(MEASURED, &timer).await?;
        Ok(opened)
    }

    /// Waits until `moment` or until the load is stopped.
    async fn wait_until(&self, moment: Instant, timer: &PreciseTimer) -> io::Result<()> {
        loop {
            let now = Instant::now();
            if moment <= now || self.is_stopped() {
                return Ok(());
            }
            timer.sleep_until(moment.min(now + STOP_CHECK_INTERVAL)).await?;
        }
    }

    /// Launches each arrival of a phase when it is due, until its schedule ends or the load is stopped.
    async fn dispatch(self: &Rc<Self>, phase: usize, timer: &PreciseTimer) -> io::Result<()> {
        let Phase {
            start, ref schedule, ..
        } = self.setup.phases[phase];
        let mut arrivals = schedule.arrivals(self.setup.stripe).peekable();
        let mut launched = 0;
        let mut last_wake_up = start;
        while let Some(next) = arrivals.peek()
            && !self.is_stopped()
        {
            let (due, now) = (start + next.at, Instant::now());
            if due <= now {
                self.launch(phase, *next);
                arrivals.next();
                launched += 1;
                if launched % LAUNCHES_PER_YIELD == 0 {
                    task::yield_now().await;
                }
            } else {
                let wake_up = due.max(last_wake_up + MIN_WAKE_INTERVAL);
                self.wait_until(wake_up, timer).await?;
                last_wake_up = Instant::now();
            }
        }
        // Only a stopped load has arrivals left. Those that were already due count as missed.
        let now = Instant::now();
        let missed = arrivals.take_while(|arrival| start + arrival.at <= now).count();
        self.setup.phases[phase].recorder().missed = missed as u64;
        Ok(())
    }

    fn launch(self: &Rc<Self>, phase: usize, Arrival { index, at: intended }: Arrival) {
        let target = self.setup.plan.mix.choose(index);
        if self.in_flight.get() >= self.max_in_flight {
            let phase = &self.setup.phases[phase];
            let now = phase.start.elapsed();
            phase.recorder().record_dropped(intended, target, now);
            return;
        }
        self.in_flight.set(self.in_flight.get() + 1);
        task::spawn_local(Rc::clone(self).run_request(phase, intended, target));
    }

    async fn run_request(self: Rc<Self>, phase: usize, intended: Duration, target: usize) {
        let in_flight = InFlight(&self);
        let plan = &self.setup.plan;
        let phase = &self.setup.phases[phase];
        let start = phase.start + intended;
        let deadline = (start + plan.timeout).into();
        let lag = start.elapsed();
        phase.recorder().record_sent(intended, target, lag);
        let mut details = ExchangeDetails {
            lag,
            ..ExchangeDetails::default()
        };
        let exchange = exchange::exchange(
            &self.pools_by_target[target],
            || plan.mix.request(target),
            &plan.expectations,
            &mut details,
        );
        let outcome = time::timeout_at(deadline, exchange).await;
        let latency = start.elapsed();
        let (lease, result) = match outcome {
            Ok(Ok(response)) => (Some(response.lease), response.check),
            Ok(Err(failure)) => (None, Err(failure)),
            Err(_) => (None, Err(Failure::timeout())),
        };
        phase.recorder().record_completed(CompletedRequest {
            intended,
            target,
            latency,
            result,
            details,
        });
        drop(in_flight);
        if let Some(lease) = lease {
            // A server can respond without reading the rest of the request. The timeout bounds the wait for it.
            drop(time::timeout_at(deadline, lease.release()).await);
        }
    }

    /// Waits until all requests in flight have completed. The timeout of each request bounds the wait.
    async fn drained(&self) {
        while self.in_flight.get() > 0 {
            self.all_completed.notified().await;
        }
    }
}

/// Counts a request as in flight while the guard exists.
struct InFlight<'dispatcher>(&'dispatcher Dispatcher);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        let remaining = self.0.in_flight.get() - 1;
        self.0.in_flight.set(remaining);
        if remaining == 0 {
            self.0.all_completed.notify_one();
        }
    }
}

async fn housekeeping(dispatcher: Rc<Dispatcher>) {
    let mut ticks = time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        ticks.tick().await;
        dispatcher.pools.iter().for_each(|pool| pool.close_stale());
        for phase in &dispatcher.setup.phases {
            phase.recorder().intervals.compact(phase.start.elapsed());
        }
    }
}

/// Returns the part of this stripe in a limit for all stripes together; at least 1.
fn stripe_share(total: usize, stripe: Stripe) -> usize {
    let (first, count) = (
        usize::try_from(stripe.first).unwrap_or(0),
        usize::try_from(stripe.count).unwrap_or(1),
    );
    (total / count + usize::from(first < total % count)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_all_stripes_add_up_to_the_total() {
        for (total, count) in [(100, 3), (10_000, 2), (7, 4)] {
            let sum: usize = (0..count)
                .map(|first| stripe_share(total, Stripe { first, count }))
                .sum();
            assert_eq!(sum, total);
        }
    }
}
