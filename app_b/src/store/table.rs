//! Replaces the content of the table of users by a list, in one transaction.

use std::collections::{BTreeSet, HashMap};

use sqlx::SqlitePool;

use super::user::UserRecord;

/// Makes the table equal to `users`. Returns the number of users that were added, changed or removed.
///
/// A lookup finds either all old or all new users. The rows of equal users stay, so an unchanged list writes nothing.
pub(super) async fn replace(pool: &SqlitePool, users: &[UserRecord]) -> Result<usize, sqlx::Error> {
    let rows: Vec<(String, Option<String>, Vec<u8>)> =
        sqlx::query_as("SELECT username, password_hash, token_hash FROM users")
            .fetch_all(pool)
            .await?;
    let present: HashMap<_, _> = rows
        .iter()
        .map(|(name, password_hash, token_hash)| (name, (password_hash, token_hash.as_slice())))
        .collect();
    let wanted: HashMap<_, _> = users
        .iter()
        .map(|user| (&user.name, (&user.password_hash, user.token.as_bytes())))
        .collect();
    let changed: BTreeSet<_> = present
        .keys()
        .chain(wanted.keys())
        .filter(|name| present.get(*name) != wanted.get(*name))
        .collect();
    if changed.is_empty() {
        return Ok(0);
    }
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    // All deletions come first: a new user may have the token of an old one.
    for name in &changed {
        sqlx::query("DELETE FROM users WHERE username = ?")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await?;
    }
    for name in &changed {
        if let Some((password_hash, token_hash)) = wanted.get(*name) {
            sqlx::query("INSERT INTO users (username, password_hash, token_hash) VALUES (?, ?, ?)")
                .bind(name.as_str())
                .bind(password_hash.as_deref())
                .bind(*token_hash)
                .execute(&mut *transaction)
                .await?;
        }
    }
    transaction.commit().await?;
    Ok(changed.len())
}
