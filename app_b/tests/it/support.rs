//! Prepared databases, and requests to `/auth`.

use std::path::Path;

use app_b::Source;
use app_b::store::{self, database_url};
use reqwest::Client;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::process::Command;
use tokio::sync::OnceCell;

use super::process::Service;

/// The name and the token of each demonstration user.
pub(crate) const DEMO_USERS: [(&str, &str); 5] = [
    ("density", "mytoken"),
    ("ada", "adas-token"),
    ("edsger", "edsgers-token"),
    ("grace", "graces-token"),
    ("margaret", "margarets-token"),
];

/// The setting that enables them.
pub(crate) const DEMO: (&str, &str) = ("DEMO_USERS", "true");

/// Starts the binary with the demonstration users and these environment variables.
pub(crate) fn start(variables: &[(&str, &str)]) -> Service {
    Service::start(env!("CARGO_BIN_EXE_app_b"), &[&[DEMO], variables].concat())
}

/// Returns the `DATABASE_URL` of a file.
pub(crate) fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Writes a database with the demonstration users to `path`.
pub(crate) async fn write_demo_database(path: &Path) {
    static DATABASE: OnceCell<Vec<u8>> = OnceCell::const_new();
    let database = DATABASE
        .get_or_init(async || {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("app_b.db");
            let users = Source::Demo.load().await.unwrap();
            let url = database_url(&url(&path)).unwrap();
            let store = store::open(&url, &users).await.unwrap();
            store.close().await;
            std::fs::read(&path).unwrap()
        })
        .await;
    std::fs::write(path, database).unwrap();
}

/// Writes a database to `path` that `app_b` never finishes opening. Instead of the table `users`, it has a view, and SQLite
/// never finishes a query of this view.
pub(crate) async fn write_database_that_never_opens(path: &Path) {
    write_demo_database(path).await;
    execute(path, "DROP TABLE users").await.unwrap();
    let view = "CREATE VIEW users AS WITH RECURSIVE endless (n) AS (SELECT 0 UNION ALL SELECT n FROM endless) \
                SELECT '' AS username, '' AS password_hash, x'' AS token_hash FROM endless WHERE n > 0";
    execute(path, view).await.unwrap();
}

/// Executes a statement in the database at `path`.
pub(crate) async fn execute(path: &Path, statement: &'static str) -> Result<(), sqlx::Error> {
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await?;
    sqlx::query(statement).execute(&mut connection).await?;
    connection.close().await
}

/// Sends `POST /auth` with this token. Returns the status and the body.
pub(crate) async fn auth(service: &str, token: &str) -> (u16, String) {
    let response = Client::new()
        .post(format!("{service}/auth"))
        .form(&[("token", token)])
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.text().await.unwrap())
}

/// Asserts that the service knows every demonstration user.
pub(crate) async fn assert_demo_users(service: &str) {
    for (user, token) in DEMO_USERS {
        assert_eq!(auth(service, token).await, (200, user.to_owned()));
    }
}

/// Returns the names of the files in a directory.
pub(crate) fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// Returns the binary with a file size limit, in blocks of 512 bytes. SIGXFSZ is ignored, so that a write fails as on a
/// full disk. The output of the binary goes to pipes, to which the limit does not apply.
pub(crate) fn with_file_size_limit(blocks: u32) -> Command {
    let mut command = Command::new("sh");
    let binary = env!("CARGO_BIN_EXE_app_b");
    command.args([
        "-c",
        &format!("trap '' XFSZ; ulimit -f {blocks} && exec {binary}"),
    ]);
    command
}
