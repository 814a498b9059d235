//! One generator thread: its part of the schedule, its connections, its measurements.

use std::{
    cell::Cell,
    collections::BTreeMap,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, task, time};

use super::{
    Control, Plan,
    arrivals::{Arrival, Stripe},
    connections::Connections,
    dialer::Dialer,
    exchange::{self, Traits},
    failure::Failure,
    host::Host,
    mix::Protocol,
    multiplexed::Multiplexed,
    pacer,
    pool::{Pool, PoolLimits},
    record::{Ended, Recorder},
    target::Origin,
};

/// Arrivals that are launched before the connections get their turn, when many are due at once.
const BURST: u32 = 32;

/// How often idle connections are looked through, and finished intervals packed.
const HOUSEKEEPING: Duration = Duration::from_millis(500);

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
pub(crate) fn run(work: Work) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())?;
    let alarm = Arc::new(Notify::new());
    let pacer = {
        let (alarm, control) = (Arc::clone(&alarm), Arc::clone(&work.control));
        let (start, arrivals) = (work.start, work.plan.schedule.arrivals(work.stripe));
        thread::Builder::new()
            .name("loadtest-pacer".to_owned())
            .spawn(move || pacer::ring(start, arrivals, &control, &alarm))?
    };
    let dispatcher = Rc::new(Dispatcher::new(work));
    runtime.block_on(async {
        let housekeeping = task::spawn_local(housekeeping(Rc::clone(&dispatcher)));
        dispatcher.dispatch(&alarm).await;
        dispatcher.drained().await;
        housekeeping.abort();
    });
    dispatcher.recorder().opened = dispatcher.pools.iter().map(|pool| pool.opened()).sum();
    pacer.thread().unpark();
    drop(pacer.join());
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
    async fn dispatch(self: &Rc<Self>, alarm: &Notify) {
        let Work {
            start,
            ref plan,
            stripe,
            ref control,
            ..
        } = self.work;
        let mut arrivals = plan.schedule.arrivals(stripe).peekable();
        let mut burst = 0;
        while let Some(next) = arrivals.peek()
            && !control.stopped.load(Ordering::Relaxed)
        {
            if start + next.at <= Instant::now() {
                self.launch(*next);
                arrivals.next();
                burst += 1;
                if burst % BURST == 0 {
                    task::yield_now().await;
                }
            } else {
                alarm.notified().await;
            }
        }
        // Only a load that was stopped has any left: those that were due by then, and not taken up, were missed.
        let now = Instant::now();
        let missed = arrivals.take_while(|arrival| start + arrival.at <= now).count();
        self.recorder().missed = missed as u64;
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
        let plan = &self.work.plan;
        let start = self.work.start + intended;
        self.recorder().sent(intended, target, start.elapsed());
        let mut traits = Traits::default();
        let exchange = exchange::exchange(
            &self.pools_by_target[target],
            plan.mix.request(target),
            &plan.expectations,
            &mut traits,
        );
        let outcome = time::timeout_at((start + plan.timeout).into(), exchange).await;
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
        self.in_flight.set(self.in_flight.get() - 1);
        if self.in_flight.get() == 0 {
            self.idle.notify_one();
        }
        if let Some(lease) = lease {
            lease.give_back().await;
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
