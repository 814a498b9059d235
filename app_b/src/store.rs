//! The user store, behind a trait. SQLite is the embedded default.
//!
//! To add another database, implement [`UserStore`] and select it by the scheme of its URL in [`open`].

mod directory;
mod failure;
mod monitor;
mod pool_metrics;
mod sqlite;
mod table;
mod url;
mod user;

use std::sync::Arc;

pub use failure::OpenError;
pub use monitor::monitor;
pub use url::{DatabaseUrl, database_url};
pub use user::{Check, Error, Lookup, Replaced, TokenHash, User, UserRecord, UserStore};

/// Opens the database. Creates it if it does not exist, migrates it, and makes its users equal to `users`.
///
/// # Errors
/// Names the file, the failure, and what to do.
pub async fn open(url: &DatabaseUrl, users: &[UserRecord]) -> Result<Arc<dyn UserStore>, OpenError> {
    directory::create(url.path())?;
    if url.is_default() {
        directory::check_private(url.path())?;
    }
    let store = sqlite::SqliteStore::open(url.path(), users).await?;
    Ok(Arc::new(store))
}
