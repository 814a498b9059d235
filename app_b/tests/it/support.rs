//! Prepared databases, and requests to `/auth`.

use std::path::Path;

use app_b::store::{self, database_url};
use reqwest::Client;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};
use tokio::process::Command;
use tokio::sync::OnceCell;

/// The name and the token of each seeded user.
pub(crate) const SEED: [(&str, &str); 5] = [
    ("density", "mytoken"),
    ("ada", "adas-token"),
    ("edsger", "edsgers-token"),
    ("grace", "graces-token"),
    ("margaret", "margarets-token"),
];

/// Returns the `DATABASE_URL` of a file.
pub(crate) fn url(path: &Path) -> String {
    format!("sqlite://{}", path.display())
}

/// Writes a seeded database to `path`. It is created once for all tests, because the password hashes are slow.
pub(crate) async fn write_seeded_database(path: &Path) {
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

/// Writes a database to `path` that `app_b` never finishes opening. `app_b` queries the table `seeds`, and this
/// database has an infinite view in its place.
pub(crate) async fn write_database_that_never_opens(path: &Path) {
    write_seeded_database(path).await;
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

/// Asserts that the service knows every seeded user.
pub(crate) async fn assert_full_seed(service: &str) {
    for (user, token) in SEED {
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
