//! Watches the store. A store that is gone turns readiness off, with the reason.

use std::sync::Arc;
use std::time::Duration;

use service::readiness::Readiness;
use service::reply::Cause;

use super::user::{Error, UserStore};

/// The time between two checks: as often as a usual readiness probe.
const PERIOD: Duration = Duration::from_secs(1);

/// Checks the store periodically, and reports the result to `readiness`. Never completes.
pub async fn monitor(users: Arc<dyn UserStore>, readiness: Readiness) {
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        match users.check().await {
            // A busy database is overloaded, and another pod has the same load.
            Ok(()) | Err(Error::Busy(_)) => {
                if readiness.clear_fault() {
                    tracing::info!("the database is back: /readyz responds 200");
                }
            }
            Err(error) => {
                let cause = Cause::new(&error);
                if readiness.set_fault(cause.text()) {
                    tracing::error!(error = cause.text(), "the database is gone: /readyz responds 503");
                }
            }
        }
    }
}
