//! The embedded database. Each step of its set-up is a transaction: after a kill at any point, the next start continues.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use prometheus::Registry;
use service::metrics::register;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqlSafeStr};
use subtle::ConstantTimeEq;

use super::failure::OpenError;
use super::failure::code;
use super::pool_metrics::PoolMetrics;
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
    metrics: PoolMetrics,
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
            metrics: PoolMetrics::new(&pool),
            pool,
            path: path.to_owned(),
            identity,
        })
    }

    async fn find(&self, token: TokenHash) -> Result<Option<User>, Error> {
        let mut connection = self.metrics.acquire().await.map_err(classify)?;
        let row: Option<(String, Vec<u8>)> =
            sqlx::query_as("SELECT username, token_hash FROM users WHERE token_hash = ?")
                .bind(token.as_bytes())
                .fetch_optional(&mut *connection)
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

    fn register_metrics(&self, registry: &Registry) {
        register(registry, Ok(self.metrics.clone()));
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

#[cfg(test)]
mod tests {
    use tokio::time::Instant;
    use wiring::exposition;

    use super::*;

    #[tokio::test]
    async fn the_metrics_of_the_pool_count_its_connections_and_the_waits() {
        let directory = tempfile::tempdir().unwrap();
        let users = [UserRecord {
            name: "density".to_owned(),
            token: TokenHash::of(b"mytoken"),
            password_hash: None,
        }];
        let path = directory.path().join("app_b.db");
        let store = SqliteStore::open(&path, &users).await.unwrap();
        let registry = Registry::new();
        store.register_metrics(&registry);
        let value = |series| {
            let text = service::metrics::text(&registry);
            exposition::value(&text, series).unwrap_or_else(|| panic!("{series}: {text}"))
        };
        let used = || value(r#"db_client_connection_count{state="used"}"#);
        let is = |value: f64, expected: f64| (value - expected).abs() < f64::EPSILON;
        assert!(is(value("db_client_connection_max"), MAX_CONNECTIONS.into()));
        // The pool takes a connection back in a task of its own.
        let deadline = Instant::now() + Duration::from_secs(20);
        while !is(used(), 0.0) {
            assert!(Instant::now() < deadline, "{} connections are used", used());
            tokio::task::yield_now().await;
        }
        assert!(value(r#"db_client_connection_count{state="idle"}"#) >= 1.0);
        assert!(is(value("db_client_connection_wait_time_seconds_count"), 0.0));

        // All connections are used, so the next lookup waits.
        let mut held = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            held.push(store.pool.acquire().await.unwrap());
        }
        assert!(is(used(), MAX_CONNECTIONS.into()));
        let waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.find(TokenHash::of(b"mytoken")).await })
        };
        let wait = Duration::from_millis(20);
        tokio::time::sleep(wait).await;
        drop(held);
        assert!(waiting.await.unwrap().unwrap().is_some());
        assert!(is(value("db_client_connection_wait_time_seconds_count"), 1.0));
        let waited = value("db_client_connection_wait_time_seconds_sum");
        assert!(waited >= 0.01, "waited {waited} s");
    }
}
