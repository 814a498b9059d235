//! Where the users come from: a file, which `app_b` reads again when it changes, or the demonstration users.
//!
//! No user is built in. The tokens of the demonstration users are public, so only a setting enables these users.

mod demo;
pub(crate) mod entry;
mod file;
mod reload;

use std::path::PathBuf;

pub use file::Error;
pub(crate) use reload::watch;

use crate::store::UserRecord;

/// Where the users come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The demonstration users. Everybody can read their tokens in the source of this program.
    Demo,
    /// The users file at this path.
    File(PathBuf),
}

impl Source {
    /// Returns the users.
    ///
    /// # Errors
    /// Names the file, the fault, and what to do.
    pub async fn load(&self) -> Result<Vec<UserRecord>, Error> {
        let users = match self {
            Self::Demo => {
                tracing::warn!("the demonstration users are enabled: their tokens are public");
                demo::users()
            }
            Self::File(path) => file::load(path).await?,
        };
        if users.is_empty() {
            tracing::warn!("the users file contains no user: app_b refuses every token");
        }
        Ok(users)
    }
}
