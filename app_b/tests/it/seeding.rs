//! The creation and the seeding of the database: kills and failures on the way, and the content afterwards.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::time::Instant;

use super::process::{Service, free_address, printed};
use super::support::{
    assert_full_seed, auth, execute, files, url, with_file_size_limit, write_seeded_database,
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
async fn the_start_after_a_kill_at_any_point_serves_the_full_seed() {
    // The duration of a start without a database. The kills are spread over it.
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    let started = Instant::now();
    Service::start(APP_B, &[("DATABASE_URL", &url(&database))])
        .ready()
        .await;
    let start_duration = started.elapsed();

    let (mut killed, mut killed_before_seed) = (0, 0);
    for number in 1..=24_u32 {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("app_b.db");
        let url = url(&database);
        let service = Service::start(APP_B, &[("DATABASE_URL", &url)]);
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
        killed_before_seed += usize::from(count_users(directory.path()).await == Some(0));
        let next = Service::start(APP_B, &[("DATABASE_URL", &url)]).ready().await;
        assert_full_seed(&format!("http://{}", next.address)).await;
        assert_eq!(auth(&next.url(""), "wrong").await.0, 401, "{files_left:?}");
    }
    assert_eq!(killed, 24, "a process exited before its kill");
    assert!(
        killed_before_seed > 0,
        "no kill came after the tables and before the seed"
    );
}

#[tokio::test]
async fn the_start_after_a_failure_at_each_page_serves_the_full_seed() {
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
        let next = Service::start(APP_B, &[("DATABASE_URL", &url(&database))])
            .ready()
            .await;
        assert_full_seed(&format!("http://{}", next.address)).await;
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
async fn a_removed_user_stays_removed_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_seeded_database(&database).await;
    execute(&database, "DELETE FROM users WHERE username = 'ada'")
        .await
        .unwrap();
    let service = Service::start(APP_B, &[("DATABASE_URL", &url(&database))])
        .ready()
        .await;
    assert_eq!(
        auth(&service.url(""), "adas-token").await,
        (401, "fail".to_owned())
    );
    assert_eq!(
        auth(&service.url(""), "mytoken").await,
        (200, "density".to_owned())
    );
}

#[tokio::test]
async fn the_database_rejects_a_user_named_fail() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_seeded_database(&database).await;
    let statement =
        "INSERT INTO users (username, password_hash, token_hash) VALUES ('fail', 'x', randomblob(32))";
    let error = execute(&database, statement).await.unwrap_err();
    assert!(error.to_string().contains("CHECK"), "{error}");
}

#[tokio::test]
async fn the_file_contains_neither_tokens_nor_passwords() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_seeded_database(&database).await;
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
