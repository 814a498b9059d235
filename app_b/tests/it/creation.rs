//! The creation of the database and its users: kills and failures during the creation, and the content afterwards.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;

use super::process::{Service, free_address, printed};
use super::support::{
    DEMO, DEMO_USERS, assert_demo_users, auth, execute, files, start, url, with_file_size_limit,
    write_demo_database,
};

const APP_B: &str = env!("CARGO_BIN_EXE_app_b");

/// Counts the users in the database that a kill left behind. `None` if the table does not exist yet. It opens a copy,
/// because SQLite repairs the files that it opens.
async fn count_users(directory: &Path) -> Option<i64> {
    let copy = tempfile::tempdir().unwrap();
    for name in files(directory) {
        std::fs::copy(directory.join(&name), copy.path().join(&name)).unwrap();
    }
    let options = SqliteConnectOptions::new().filename(copy.path().join("app_b.db"));
    let mut connection = options.connect().await.ok()?;
    sqlx::query_scalar("SELECT count(*) FROM users")
        .fetch_one(&mut connection)
        .await
        .ok()
}

#[tokio::test]
async fn the_start_after_a_kill_at_any_point_serves_all_users() {
    // The duration of a start without a database. The kills are spread over it.
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    let started = Instant::now();
    start(&[("DATABASE_URL", &url(&database))]).ready().await;
    let start_duration = started.elapsed();

    let (mut killed, mut killed_before_users) = (0, 0);
    for number in 1..=24_u32 {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("app_b.db");
        let url = url(&database);
        let service = start(&[("DATABASE_URL", &url)]);
        // Half of the kills are in the first tenth, where SQLite creates the file, the journal and the tables.
        let share = if number % 2 == 0 {
            f64::from(number) / 240.0
        } else {
            f64::from(number) / 24.0
        };
        tokio::time::sleep(start_duration.mul_f64(share)).await;
        service.signal(Signal::KILL);
        killed += usize::from(service.output().await.status.code().is_none());

        let files_left = files(directory.path());
        let users = count_users(directory.path()).await;
        assert!(matches!(users, None | Some(0 | 5)), "{users:?} of 5 users");
        killed_before_users += usize::from(users != Some(5));
        let next = start(&[("DATABASE_URL", &url)]).ready().await;
        assert_demo_users(&format!("http://{}", next.address)).await;
        assert_eq!(auth(&next.url(""), "wrong").await.0, 401, "{files_left:?}");
    }
    assert_eq!(killed, 24, "a process exited before its kill");
    assert!(
        killed_before_users > 0,
        "no kill came before the users were complete"
    );
}

#[tokio::test]
async fn the_start_after_a_failure_at_each_page_serves_all_users() {
    // A file size limit makes the creation of the database fail. The limit grows by one page at a time, from no page to
    // all pages.
    let mut failures = 0;
    for blocks in (0..=160).step_by(8) {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("app_b.db");
        let output = start_with_file_size_limit(blocks, &database).await;
        let Some(output) = output else { break };
        failures += 1;
        assert_eq!(output.status.code(), Some(1), "{blocks}: {}", printed(&output));
        let next = start(&[("DATABASE_URL", &url(&database))]).ready().await;
        assert_demo_users(&format!("http://{}", next.address)).await;
    }
    assert!(failures > 3, "the limit caused only {failures} failures");
}

/// Starts the binary with a file size limit, in blocks of 512 bytes. Returns its output, or `None` if it became ready.
async fn start_with_file_size_limit(blocks: u32, database: &Path) -> Option<Output> {
    let (address, admin) = (free_address(), free_address());
    let mut command = with_file_size_limit(blocks);
    command
        .env_clear()
        .env("LISTEN", address.to_string())
        .env("ADMIN_LISTEN", admin.to_string());
    command
        .env("DATABASE_URL", url(database))
        .env("DRAIN_DELAY", "0s")
        .envs([DEMO])
        .kill_on_drop(true);
    let child = command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let ready = async {
        while !reqwest::get(format!("http://{admin}/readyz"))
            .await
            .is_ok_and(|response| response.status().is_success())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        output = child.wait_with_output() => Some(output.unwrap()),
        () = ready => None,
    }
}

#[tokio::test]
async fn a_start_makes_the_table_equal_to_the_configured_users() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    for statement in [
        "DELETE FROM users WHERE username = 'ada'",
        "UPDATE users SET token_hash = randomblob(32) WHERE username = 'grace'",
        "INSERT INTO users (username, token_hash) VALUES ('stranger', randomblob(32))",
    ] {
        execute(&database, statement).await.unwrap();
    }
    let service = start(&[("DATABASE_URL", &url(&database))]).ready().await;
    assert_demo_users(&service.url("")).await;
    assert_eq!(count_users(directory.path()).await, Some(5));
}

/// A database that the version before the users file wrote.
const PREVIOUS_VERSION: &str = include_str!("fixtures/previous_version.sql");

#[tokio::test]
async fn a_database_of_the_previous_version_opens_with_the_configured_users() {
    let directory = tempfile::tempdir().unwrap();
    let users = directory.path().join("users");
    std::fs::write(&users, "# nobody\n").unwrap();
    for (setting, status) in [(DEMO, 200), (("USERS_FILE", users.to_str().unwrap()), 401)] {
        let database = directory.path().join(setting.0);
        std::fs::write(&database, "").unwrap();
        execute(&database, PREVIOUS_VERSION).await.unwrap();
        let service = Service::start(APP_B, &[setting, ("DATABASE_URL", &url(&database))]);
        let service = service.ready().await;
        for (_, token) in DEMO_USERS {
            assert_eq!(
                auth(&service.url(""), token).await.0,
                status,
                "{} {token}",
                setting.0
            );
        }
    }
}

#[tokio::test]
async fn the_database_rejects_a_user_named_fail() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let statement =
        "INSERT INTO users (username, password_hash, token_hash) VALUES ('fail', 'x', randomblob(32))";
    let error = execute(&database, statement).await.unwrap_err();
    assert!(error.to_string().contains("CHECK"), "{error}");
}

#[tokio::test]
async fn the_file_contains_neither_tokens_nor_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let bytes = std::fs::read(&database).unwrap();
    let contains = |needle: &str| {
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    assert!(
        contains("density") && contains("$argon2id$"),
        "the file does not contain the users"
    );
    for secret in ["mytoken", "adas-token", "devops", "analytical engine"] {
        assert!(!contains(secret), "{secret}");
    }
}
