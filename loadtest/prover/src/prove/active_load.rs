//! A load of a run, and its end.

use engine::{Load, LoadReport};
use tokio::task::JoinHandle;

/// A running or draining load.
pub(super) enum ActiveLoad {
    Running(Load),
    Draining(JoinHandle<anyhow::Result<LoadReport>>),
}

impl ActiveLoad {
    /// Stops sending new requests. Does not wait for the requests in flight.
    pub(super) fn stop(self) -> Self {
        match self {
            Self::Running(mut load) => {
                load.stop();
                Self::Draining(tokio::spawn(async move {
                    load.drained().await?;
                    Ok(load.report())
                }))
            }
            draining @ Self::Draining(_) => draining,
        }
    }
}

/// Stops a load, waits for its requests in flight, and returns its report; `None` without a load.
pub(super) async fn finish(load: Option<ActiveLoad>) -> anyhow::Result<Option<LoadReport>> {
    match load.map(ActiveLoad::stop) {
        Some(ActiveLoad::Draining(report)) => Ok(Some(report.await??)),
        _ => Ok(None),
    }
}
