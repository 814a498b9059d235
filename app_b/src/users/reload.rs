//! Stores the users when the users file changes. A bad file leaves the users as they are.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use prometheus::IntGauge;
use service::reload::{Follow, follow};

use super::file;
use crate::store::{UserRecord, UserStore};

/// Stores the users of the file whenever they change. Never completes. `is_current` is 0 while the last version of the
/// file cannot be used, and 1 otherwise.
pub(crate) async fn watch(path: PathBuf, store: Arc<dyn UserStore>, is_current: IntGauge) {
    let stored = None;
    follow("users file", is_current, UsersFile { path, store, stored }).await;
}

struct UsersFile {
    path: PathBuf,
    store: Arc<dyn UserStore>,
    /// The users that the store has got. `None` before the first read.
    stored: Option<Vec<UserRecord>>,
}

impl Follow for UsersFile {
    async fn apply(&mut self) -> Result<()> {
        let users = file::load(&self.path).await?;
        if self.stored.as_ref() == Some(&users) {
            return Ok(());
        }
        let changed = self.store.replace_users(&users).await?;
        if changed > 0 {
            tracing::info!(
                users.file = %self.path.display(),
                users.count = users.len(),
                users.changed = changed,
                "the users changed"
            );
        }
        self.stored = Some(users);
        Ok(())
    }
}
