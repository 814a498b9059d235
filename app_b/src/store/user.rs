//! The types of the user store: the trait, its argument and its results.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;

use prometheus::Registry;
use sha2::{Digest, Sha256};

/// A store of users and the hashes of their tokens.
pub trait UserStore: fmt::Debug + Send + Sync {
    /// Returns the user whose token has this hash, or `None` if there is no such user.
    ///
    /// # Errors
    /// If the database does not respond.
    fn user_by_token(&self, token: TokenHash) -> Lookup<'_>;

    /// Makes the stored users equal to this list. Returns the number of users that were added, changed or removed. A
    /// lookup finds either all old or all new users.
    ///
    /// # Errors
    /// If the database cannot be written. The stored users are unchanged then.
    fn replace_users<'a>(&'a self, users: &'a [UserRecord]) -> Replaced<'a>;

    /// Checks that the database is still there and responds.
    ///
    /// # Errors
    /// If lookups cannot succeed.
    fn check(&self) -> Check<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Registers the metrics of the store, if it has any.
    fn register_metrics(&self, _registry: &Registry) {}

    /// Closes the database. No data is lost without it.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
}

/// The future of a lookup. It is boxed so that [`UserStore`] is dyn-compatible.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Option<User>, Error>> + Send + 'a>>;

/// The future of a replacement.
pub type Replaced<'a> = Pin<Box<dyn Future<Output = Result<usize, Error>> + Send + 'a>>;

/// The future of a check.
pub type Check<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// A user, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name, which is public.
    pub name: String,
}

/// A user to store. It has no `Debug`, so that no log contains the hash of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The name, which is public.
    pub name: String,
    /// The hash of the token.
    pub token: TokenHash,
    /// Argon2id in the PHC string format. `None` if the user has no password.
    pub password_hash: Option<String>,
}

/// The SHA-256 of a token. The token itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    pub(crate) fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
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

/// Reasons that a lookup fails.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Too many lookups run at once, or another process locks the database.
    #[error("the database is busy")]
    Busy(#[source] sqlx::Error),
    /// The file of the database was removed or replaced while the service runs.
    #[error("the file {} was removed or replaced: restore it, or restart app_b", .0.display())]
    Gone(PathBuf),
    /// Any other failure of the database.
    #[error("the database failed")]
    Failed(#[source] sqlx::Error),
}
