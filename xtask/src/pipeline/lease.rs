//! The lease of a cluster: one pipeline deploys at a time.
//!
//! The API server decides who has it: `create` succeeds once, and `replace` only for the version that was read. A thread renews it. A
//! pipeline that could not renew it in time stops before another one may take it.

mod object;
mod state;

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use testbed::wait;

use super::cluster::{Cluster, has_reason};
use super::outcome::{Stop, refused};
use super::time;
use object::{DURATION, Decision, Lease as Read, NAME, NAMESPACE, decide, object};
use state::{Renewed, State};

/// The time between two renewals.
const RENEWAL: Duration = Duration::from_secs(6);

/// The time after which a renewal without an answer is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A lease counts as lost this long before it ends, which is the time that a running command has to end.
const MARGIN: Duration = Duration::from_secs(5);

/// The time between two looks at the lease of another pipeline.
const WATCH: Duration = Duration::from_secs(1);

/// The lease that this pipeline has.
pub(super) struct Lease {
    state: Arc<State>,
    /// The renewals. Dropping the sender ends them.
    renewals: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Lease {
    /// Takes the lease for `holder`, and renews it until it is released. `check` fails when this pipeline must stop waiting.
    ///
    /// # Errors
    /// Refuses to run while another pipeline has the lease. Otherwise when the API server does not answer.
    pub(super) fn take(cluster: &Cluster, holder: String, check: impl Fn() -> Result<()>) -> Result<Self> {
        loop {
            check()?;
            let (transitions, replaced) = match available(cluster, &check)? {
                None => (0, None),
                Some(free) => (free.transitions + 1, Some(free.version)),
            };
            // After the wait, which may have lasted as long as the lease.
            let (since, at) = (time::now(), Instant::now());
            let verb = if replaced.is_some() { "replace" } else { "create" };
            let written = object(Some(&holder), &since, &since, transitions, replaced.as_deref());
            match cluster.write(verb, &written) {
                Ok(stored) => {
                    let version = Read::of(&stored).version;
                    let renewed = Mutex::new(Renewed {
                        at,
                        version,
                        lost: None,
                    });
                    let cluster = Some(cluster.clone());
                    return Ok(Self::renewing(State {
                        cluster,
                        holder,
                        since,
                        transitions,
                        renewed,
                    }));
                }
                // Another pipeline was faster, or the lease was deleted.
                Err(error)
                    if ["AlreadyExists", "Conflict", "NotFound"]
                        .iter()
                        .any(|reason| has_reason(&error, reason)) => {}
                Err(error) => return Err(error.context("cannot write the lease")),
            }
        }
    }

    fn renewing(state: State) -> Self {
        let state = Arc::new(state);
        let (stop, until_stopped) = mpsc::channel::<()>();
        let renewed = Arc::clone(&state);
        let renewals = thread::spawn(move || {
            let mut pause = RENEWAL;
            while until_stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = if renewed.renew() { RENEWAL } else { RETRY };
            }
        });
        Self {
            state,
            renewals: Some((stop, renewals)),
        }
    }

    /// Fails when another pipeline may have the lease, now or soon.
    ///
    /// # Errors
    /// [`Stop::LeaseLost`].
    pub(super) fn check(&self) -> Result<()> {
        let renewed = self.state.renewed();
        if let Some(reason) = &renewed.lost {
            return Err(Stop::LeaseLost(reason.clone()).into());
        }
        let age = renewed.at.elapsed();
        if age + MARGIN >= DURATION {
            let reason = format!("the API server has not renewed it for {} s", age.as_secs());
            return Err(Stop::LeaseLost(reason).into());
        }
        Ok(())
    }

    /// Gives the lease back, so that the next pipeline need not wait.
    ///
    /// # Errors
    /// When the API server does not answer. The lease then ends by itself.
    pub(super) fn release(mut self) -> Result<()> {
        self.end_renewals();
        let state = &self.state;
        let Some(cluster) = &state.cluster else {
            return Ok(());
        };
        loop {
            let renewed = state.renewed();
            if renewed.lost.is_some() {
                return Ok(());
            }
            let free = object(
                None,
                &state.since,
                &time::now(),
                state.transitions,
                Some(&renewed.version),
            );
            drop(renewed);
            match cluster.write("replace", &free) {
                // The answer to the last renewal was lost, or another pipeline has the lease.
                Err(error) if has_reason(&error, "Conflict") => state.look(cluster)?,
                Err(error) => return Err(error.context("cannot give the lease back")),
                Ok(_) => return Ok(()),
            }
        }
    }

    fn end_renewals(&mut self) {
        if let Some((stop, renewals)) = self.renewals.take() {
            drop(stop);
            // A panic in the thread leaves a lease that ends by itself.
            let _ = renewals.join();
        }
    }

    /// A lease without a cluster: a valid one, or one that is lost.
    #[cfg(test)]
    pub(super) fn for_tests(valid: bool) -> Self {
        let lost = (!valid).then(|| "taken".to_owned());
        let renewed = Renewed {
            at: Instant::now(),
            version: String::new(),
            lost,
        };
        let state = State {
            cluster: None,
            holder: String::new(),
            since: String::new(),
            transitions: 0,
            renewed: Mutex::new(renewed),
        };
        Self {
            state: Arc::new(state),
            renewals: None,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.end_renewals();
    }
}

/// Waits until the lease can be taken. Returns what has to be replaced, or `None` if there is no lease.
fn available(cluster: &Cluster, check: &impl Fn() -> Result<()>) -> Result<Option<Read>> {
    let read = || -> Result<Option<Read>> {
        let object = cluster
            .get(NAMESPACE, "lease", NAME)
            .context("cannot read the lease")?;
        Ok(object.as_ref().map(Read::of))
    };
    let Some(first) = read()? else {
        return Ok(None);
    };
    let start = Instant::now();
    let mut now = first.clone();
    loop {
        match decide(&first, &now, start.elapsed()) {
            Decision::Take => return Ok(Some(now)),
            Decision::Refuse => {
                return Err(refused(format!(
                    "another pipeline deploys to {}: {}. Run again when it has ended (lease {NAME} in the namespace {NAMESPACE})",
                    cluster.describe(),
                    now.describe()
                )));
            }
            Decision::Watch if now == first && start.elapsed() < WATCH => eprintln!(
                "  …       the lease is held by {}; waiting up to {} s to see whether it is renewed",
                first.describe(),
                first.duration.as_secs()
            ),
            Decision::Watch => {}
        }
        wait::pause(WATCH);
        check()?;
        let Some(read) = read()? else {
            return Ok(None);
        };
        now = read;
    }
}
