//! Databases to start from.

use std::path::Path;

use app_b::store::{self, database_url};
use reqwest::Client;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::sync::OnceCell;

/// Every seeded user and its token.
pub(crate) const SEED: [(&str, &str); 5] = [
    ("density", "mytoken"),
    ("ada", "adas-token"),
    ("edsger", "edsgers-token"),
    ("grace", "graces-token"),
    ("margaret", "margarets-token"),
];

pub(crate) fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Puts a seeded database at `path`. It is made once for all tests: hashing passwords takes its time, as it should.
pub(crate) async fn seeded(path: &Path) {
    static SEEDED: OnceCell<Vec<u8>> = OnceCell::const_new();
    let database = SEEDED
        .get_or_init(async || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("app_b.db");
            let store = store::open(&database_url(&url(&path)).unwrap()).await.unwrap();
            store.close().await;
            std::fs::read(&path).unwrap()
        })
        .await;
    std::fs::write(path, database).unwrap();
}

/// Puts a database at `path` whose opening never ends: it asks whether the seed is there, in a table that is here a
/// view without an end.
pub(crate) async fn endless(path: &Path) {
    seeded(path).await;
    execute(path, "DROP TABLE seeds").await.unwrap();
    let view = "CREATE VIEW seeds AS WITH RECURSIVE endless (name) AS \
                (SELECT 'x' UNION ALL SELECT name FROM endless) SELECT name FROM endless";
    execute(path, view).await.unwrap();
}

/// Executes a statement in the database at `path`.
pub(crate) async fn execute(path: &Path, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await?;
    sqlx::query(statement).execute(&mut connection).await?;
    connection.close().await
}

/// The status and body of `POST /auth` for this token.
pub(crate) async fn auth(service: &str, token: &str) -> (u16, String) {
    let answer = Client::new()
        .post(format!("{service}/auth"))
        .form(&[("token", token)])
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Every seeded user is there.
pub(crate) async fn assert_full_seed(service: &str) {
    for (user, token) in SEED {
        assert_eq!(auth(service, token).await, (200, user.to_owned()));
    }
}
