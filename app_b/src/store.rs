//! Where the users are, behind one small trait. SQLite is the embedded default; another database joins by
//! implementing [`UserStore`] and by its URL's scheme in [`open`].

mod directory;
mod failure;
mod seed;
mod sqlite;
mod url;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use failure::OpenError;
pub use url::{DatabaseUrl, database_url};

/// What the service asks of its database.
pub trait UserStore: fmt::Debug + Send + Sync {
    /// The user whose token has this hash.
    ///
    /// # Errors
    /// When the database does not answer; that nobody has the token is no error.
    fn user_by_token(&self, token: TokenHash) -> Lookup<'_>;

    /// Lets go of the database in an orderly way. Nothing is lost without it.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// The answer to come: a boxed future, so that the trait can be an object.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Option<User>, Error>> + Send + 'a>>;

/// A user, without anything secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, which is public.
    pub name: String,
}

/// SHA-256 of a token. The token itself is neither stored nor kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of this token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("TokenHash(…)")
    }
}

/// Why a user could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many look-ups at once, or another process holds the database.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// Anything else.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
}

/// Opens the database, migrated and seeded; makes it where there is none.
///
/// # Errors
/// Names the file, what went wrong, and what to do about it.
pub async fn open(url: &DatabaseUrl) -> Result<Arc<dyn UserStore>, OpenError> {
    directory::make(url.path())?;
    if url.is_default() {
        directory::check_private(url.path())?;
    }
    let store = sqlite::SqliteStore::open(url.path()).await?;
    Ok(Arc::new(store))
}
