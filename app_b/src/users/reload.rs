//! Reads the users file again and again, and stores the users when they change. A bad file leaves the users as they are.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use prometheus::IntGauge;

use super::file;
use crate::store::{UserRecord, UserStore};

/// The time between two reads. The content is compared, not the time of the last change: a mounted Secret changes through
/// a symbolic link, and the file is small.
const PERIOD: Duration = Duration::from_secs(1);

/// Stores the users of the file whenever they change. `is_current` becomes 0 while that fails, and 1 afterwards. Never
/// completes.
pub(crate) async fn watch(path: PathBuf, store: Arc<dyn UserStore>, is_current: IntGauge) {
    let mut stored: Option<Vec<UserRecord>> = None;
    let mut reported: Option<String> = None;
    let mut interval = tokio::time::interval(PERIOD);
    loop {
        interval.tick().await;
        match reload(&path, &*store, &mut stored).await {
            Ok(()) => {
                is_current.set(1);
                if reported.take().is_some() {
                    tracing::info!(users.file = %path.display(), "the users file is valid again");
                }
            }
            Err(error) => {
                is_current.set(0);
                let error = format!("{error:#}");
                // Once for each fault, not at each read.
                if reported.as_ref() != Some(&error) {
                    tracing::warn!(error, "the users stay as they were before the users file changed");
                    reported = Some(error);
                }
            }
        }
    }
}

async fn reload(path: &Path, store: &dyn UserStore, stored: &mut Option<Vec<UserRecord>>) -> Result<()> {
    let users = file::load(path).await?;
    if stored.as_ref() == Some(&users) {
        return Ok(());
    }
    let changed = store.replace_users(&users).await?;
    if changed > 0 {
        tracing::info!(
            users.file = %path.display(),
            users.count = users.len(),
            users.changed = changed,
            "the users changed"
        );
    }
    *stored = Some(users);
    Ok(())
}
