//! The embedded database. Every step of its making is a transaction, so that a process killed at any point leaves a
//! file from which the next start goes on.

use std::path::Path;
use std::pin::Pin;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, SqlSafeStr};
use subtle::ConstantTimeEq;

use super::failure::code;
use super::{Error, Lookup, OpenError, TokenHash, User, UserStore, seed};

/// Readers at the same time; each is a thread.
const MAX_CONNECTIONS: u32 = 4;

/// Time to wait for one of them: below what `app_a` waits for the whole answer.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time to wait for another process that writes, which only the start does: whoever reads waits for nobody (WAL).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A pool of connections to one file.
#[derive(Debug, Clone)]
pub(super) struct SqliteStore {
    pool: SqlitePool,
}

impl SqliteStore {
    pub(super) async fn open(path: &Path) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode this is safe against a crash of the process, and consistent after one of the machine.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|error| OpenError::database(path, "opened", error))?;
        check(&pool, path).await?;
        migrations()
            .run(&pool)
            .await
            .map_err(|error| OpenError::migration(path, error))?;
        let seeded = seed::run(&pool)
            .await
            .map_err(|error| OpenError::database(path, "seeded", error))?;
        tracing::info!(database.path = %path.display(), database.users_seeded = seeded, "database ready");
        Ok(Self { pool })
    }

    async fn find(&self, token: TokenHash) -> Result<Option<User>, Error> {
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT username, token_hash FROM users WHERE token_hash = ?")
                .bind(token.as_bytes())
                .fetch_optional(&self.pool)
                .await
                .map_err(classify)?;
        // The index found it by its hash, and the time that takes says nothing of a token; the comparison in constant time
        // is for a store whose lookup is not exact.
        Ok(row
            .filter(|(_, hash)| hash.ct_eq(token.as_bytes()).into())
            .map(|(name, _)| User { name }))
    }
}

impl UserStore for SqliteStore {
    fn user_by_token(&self, token: TokenHash) -> Lookup<'_> {
        Box::pin(self.find(token))
    }

    /// Brings the write-ahead log into the file, too.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.pool.close())
    }
}

/// Finds damage now, and not with the first request that meets it.
async fn check(pool: &SqlitePool, path: &Path) -> Result<(), OpenError> {
    let report: String = sqlx::query_scalar("PRAGMA quick_check(1)")
        .fetch_one(pool)
        .await
        .map_err(|error| OpenError::database(path, "read", error))?;
    if report == "ok" {
        Ok(())
    } else {
        Err(OpenError::damaged(path, report))
    }
}

/// The migrations, embedded. Each runs in a transaction of its own, together with the note that it ran.
fn migrations() -> Migrator {
    let users = include_str!("../../migrations/0001_users.sql").into_sql_str();
    Migrator::with_migrations(vec![Migration::new(
        1,
        "users".into(),
        MigrationType::Simple,
        users,
        false,
    )])
}

fn classify(error: sqlx::Error) -> Error {
    let is_busy = matches!(error, sqlx::Error::PoolTimedOut) || matches!(code(&error), Some(5 | 6));
    if is_busy {
        Error::Busy(error)
    } else {
        Error::Failed(error)
    }
}
