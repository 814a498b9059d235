//! The embedded database. Each step of its set-up is a transaction: after a kill at any point, the next start continues.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};
use subtle::ConstantTimeEq;

use super::failure::OpenError;
use super::failure::code;
use super::table;
use super::user::{Check, Error, Lookup, Replaced, TokenHash, User, UserRecord, UserStore};

/// Concurrent readers. Each has its own thread.
const MAX_CONNECTIONS: u32 = 4;

/// Time to wait for a connection of the pool. It is below the timeout of a call from `app_a`.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// Time to wait for another writer. The start and a change of the users write; readers never wait, because of the
/// write-ahead log (WAL).
const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// A connection pool of one database file.
#[derive(Debug, Clone)]
pub(super) struct SqliteStore {
    pool: SqlitePool,
    path: PathBuf,
    /// The file that is open.
    identity: FileIdentity,
}

/// The device and the inode of a file.
type FileIdentity = (u64, u64);

fn identity(path: &Path) -> io::Result<FileIdentity> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl SqliteStore {
    pub(super) async fn open(path: &Path, users: &[UserRecord]) -> Result<Self, OpenError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .journal_mode(SqliteJournalMode::Wal)
            // In WAL mode NORMAL is durable across a crash of the process, and consistent after a power loss.
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        // Only this connection may create the file. A connection of the pool that finds no file must fail: it would
        // create a database without users.
        let created = options.clone().create_if_missing(true).connect().await;
        let created = created.map_err(|error| OpenError::database(path, "opened", error))?;
        let pool = SqlitePoolOptions::new()
            .max_connections(MAX_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|error| OpenError::database(path, "opened", error))?;
        created
            .close()
            .await
            .map_err(|error| OpenError::database(path, "opened", error))?;
        check(&pool, path).await?;
        migrations()
            .run(&pool)
            .await
            .map_err(|error| OpenError::migration(path, error))?;
        let changed = table::replace(&pool, users)
            .await
            .map_err(|error| OpenError::database(path, "filled with the users", error))?;
        tracing::info!(
            database.path = %path.display(),
            users.count = users.len(),
            users.changed = changed,
            "database ready"
        );
        let identity = identity(path).map_err(|error| OpenError::directory(path, error))?;
        Ok(Self {
            pool,
            path: path.to_owned(),
            identity,
        })
    }

    async fn find(&self, token: TokenHash) -> Result<Option<User>, Error> {
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT username, token_hash FROM users WHERE token_hash = ?")
                .bind(token.as_bytes())
                .fetch_optional(&self.pool)
                .await
                .map_err(classify)?;
        // The duration of the lookup reveals nothing about a token, because the lookup uses its hash. The constant-time
        // comparison is for a database whose lookup is not exact.
        Ok(row
            .filter(|(_, hash)| hash.ct_eq(token.as_bytes()).into())
            .map(|(name, _)| User { name }))
    }
}

impl SqliteStore {
    async fn is_there(&self) -> Result<(), Error> {
        if identity(&self.path).ok() != Some(self.identity) {
            return Err(Error::Gone(self.path.clone()));
        }
        // Reads the first page of the file.
        let read = sqlx::query("PRAGMA schema_version").execute(&self.pool).await;
        read.map(drop).map_err(classify)
    }
}

impl UserStore for SqliteStore {
    fn user_by_token(&self, token: TokenHash) -> Lookup<'_> {
        Box::pin(self.find(token))
    }

    fn replace_users<'a>(&'a self, users: &'a [UserRecord]) -> Replaced<'a> {
        Box::pin(async { table::replace(&self.pool, users).await.map_err(classify) })
    }

    fn check(&self) -> Check<'_> {
        Box::pin(self.is_there())
    }

    /// Closes the pool. The last connection writes the write-ahead log back to the file.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.pool.close())
    }
}

/// Detects damage at the start instead of at the first request that reads it.
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

/// Returns the embedded migrations. Each runs in its own transaction, which also records that it ran.
fn migrations() -> Migrator {
    let migration = |version, description: &'static str, sql: &'static str| {
        let kind = MigrationType::Simple;
        Migration::new(version, description.into(), kind, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(vec![
        migration(1, "users", include_str!("../../migrations/0001_users.sql")),
        migration(
            2,
            "users from a list",
            include_str!("../../migrations/0002_users_from_a_list.sql"),
        ),
    ])
}

fn classify(error: sqlx::Error) -> Error {
    let is_busy = matches!(error, sqlx::Error::PoolTimedOut) || matches!(code(&error), Some(5 | 6));
    if is_busy {
        Error::Busy(error)
    } else {
        Error::Failed(error)
    }
}
