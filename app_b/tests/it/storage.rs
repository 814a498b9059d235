//! What can befall the database: a kill at any point of its making, a place that cannot be written, a full disk, a
//! damaged file, a newer version.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::process::{PATIENCE, Service, free_address, printed};
use super::support::{assert_full_seed, auth, execute, seeded, url};

const APP_B: &str = env!("CARGO_BIN_EXE_app_b");

/// Runs the binary on this database until it ends by itself.
async fn run(mut command: Command, database: &Path) -> Output {
    let (address, admin) = (free_address().to_string(), free_address().to_string());
    command
        .env_clear()
        .env("LISTEN", address)
        .env("ADMIN_LISTEN", admin);
    command.env("DATABASE_URL", url(database)).kill_on_drop(true);
    timeout(PATIENCE, command.output())
        .await
        .expect("it ends by itself")
        .unwrap()
}

/// The binary does not start: exit code 1, and the message names the file and says what to do.
async fn assert_refused(command: Command, database: &Path, reason: &str, advice: &str) {
    let output = run(command, database).await;
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in [database.to_str().unwrap(), reason, advice] {
        assert!(printed.contains(part), "{part:?} is missing: {printed}");
    }
}

fn files(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

/// The users in a copy of what a kill left; nothing where there is no table of them yet. The original is not opened:
/// whoever opens it repairs it.
async fn users(directory: &Path) -> Option<i64> {
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
async fn killed_at_any_point_of_its_start_the_next_start_serves_the_full_seed() {
    // How long a start takes here, from nothing to ready: the kills are spread over it.
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    let started = Instant::now();
    Service::start(APP_B, &[("DATABASE_URL", &url(&database))])
        .ready()
        .await;
    let whole = started.elapsed();

    let (mut interrupted, mut within_seeding) = (0, 0);
    for kills in 1..=24_u32 {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("app_b.db");
        let variables = [("DATABASE_URL", url(&database))].map(|(name, value)| (name, value));
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let service = Service::start(APP_B, &variables);
        // Half of them in the first tenth, where the file, its journal and its tables are made.
        let share = if kills % 2 == 0 {
            f64::from(kills) / 240.0
        } else {
            f64::from(kills) / 24.0
        };
        tokio::time::sleep(whole.mul_f64(share)).await;
        service.signal(Signal::KILL);
        interrupted += usize::from(service.output().await.status.code().is_none());

        let left = files(directory.path());
        within_seeding += usize::from(users(directory.path()).await == Some(0));
        let next = Service::start(APP_B, &variables).ready().await;
        assert_full_seed(&format!("http://{}", next.address)).await;
        assert_eq!(auth(&next.url(""), "wrong").await.0, 401, "{left:?}");
    }
    assert_eq!(interrupted, 24, "each was killed and none ended by itself");
    assert!(
        within_seeding > 0,
        "none was killed between its tables and its seed"
    );
}

#[tokio::test]
async fn stopped_after_each_page_of_its_making_the_next_start_serves_the_full_seed() {
    // A limit on the size of files stops the making at a point that moves on by a page at a time, from before the
    // first page to after the last.
    let mut refused = 0;
    for blocks in (0..=160).step_by(8) {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("app_b.db");
        let output = stopped_at(blocks, &database).await;
        let Some(output) = output else { break };
        refused += 1;
        assert_eq!(output.status.code(), Some(1), "{blocks}: {}", printed(&output));
        let next = Service::start(APP_B, &[("DATABASE_URL", &url(&database))])
            .ready()
            .await;
        assert_full_seed(&format!("http://{}", next.address)).await;
    }
    assert!(refused > 3, "the limit was met {refused} times");
}

/// Starts with files limited to so many blocks of 512 bytes; nothing where that was enough.
async fn stopped_at(blocks: u32, database: &Path) -> Option<Output> {
    let (address, admin) = (free_address(), free_address());
    let mut command = limited(blocks);
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
            .is_ok_and(|answer| answer.status().is_success())
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        output = child.wait_with_output() => Some(output.unwrap()),
        () = ready => None,
    }
}

/// The binary with files limited to so many blocks of 512 bytes, and the signal for that ignored: writing fails, as
/// on a full disk. Its output goes to pipes, which the limit is not for.
fn limited(blocks: u32) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks} && exec {APP_B}")]);
    command
}

#[tokio::test]
async fn a_full_disk_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    assert_refused(limited(8), &database, "cannot be", "free some space").await;
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_a_clear_error() {
    // Not by permissions, which do not hold for root.
    let database = Path::new("/proc/app_b/app_b.db");
    assert_refused(
        Command::new(APP_B),
        database,
        "cannot be created",
        "set DATABASE_URL",
    )
    .await;
    let in_sys = Path::new("/sys/kernel/app_b.db");
    assert_refused(
        Command::new(APP_B),
        in_sys,
        "cannot be opened",
        "set DATABASE_URL",
    )
    .await;
}

#[tokio::test]
async fn a_database_on_a_disk_that_became_read_only_is_a_clear_error_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    seeded(&database).await;
    let before = std::fs::read(&database).unwrap();
    // A mount namespace of its own, in which that directory is read-only. Most systems let any user have one.
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    let remount = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$1""#;
    command.args([remount, directory.path().to_str().unwrap(), APP_B]);
    assert_refused(
        command,
        &database,
        "cannot be opened",
        "a directory it can write to",
    )
    .await;
    assert_eq!(std::fs::read(&database).unwrap(), before);
    assert_eq!(files(directory.path()), ["app_b.db"]);
}

#[tokio::test]
async fn a_default_directory_that_others_can_write_to_is_a_clear_error() {
    let temporary = tempfile::tempdir().unwrap();
    let user = rustix::process::getuid().as_raw();
    let directory = temporary.path().join(format!("app_b-{user}"));
    std::fs::create_dir(&directory).unwrap();
    let may = |mode| std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
    let by_default = [("TMPDIR", temporary.path().to_str().unwrap())];

    may(0o777);
    let output = Service::start(APP_B, &by_default).output().await;
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in [
        directory.to_str().unwrap(),
        "can be written by other users",
        "set DATABASE_URL",
    ] {
        assert!(printed.contains(part), "{part:?} is missing: {printed}");
    }
    assert!(files(&directory).is_empty(), "nothing was written there");

    // A directory that was chosen is nobody else's business.
    let chosen = url(&directory.join("chosen.db"));
    Service::start(APP_B, &[("DATABASE_URL", &chosen)]).ready().await;

    may(0o700);
    Service::start(APP_B, &by_default).ready().await;
    assert!(directory.join("app_b.db").exists());
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data");
    std::fs::write(&file, "a file").unwrap();
    assert_refused(
        Command::new(APP_B),
        &file.join("app_b.db"),
        "cannot be created",
        "set DATABASE_URL",
    )
    .await;
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    std::fs::create_dir(&database).unwrap();
    assert_refused(
        Command::new(APP_B),
        &database,
        "cannot be opened",
        "set DATABASE_URL",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_a_clear_error_and_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    let content = "not a database ".repeat(1000);
    std::fs::write(&database, &content).unwrap();
    assert_refused(
        Command::new(APP_B),
        &database,
        "not a database",
        "move the file away",
    )
    .await;
    assert_eq!(std::fs::read_to_string(&database).unwrap(), content);
}

#[tokio::test]
async fn a_damaged_database_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    seeded(&database).await;
    let mut bytes = std::fs::read(&database).unwrap();
    // The header stays, so that only looking at the pages finds it.
    bytes[4096..].fill(0x5a);
    std::fs::write(&database, bytes).unwrap();
    assert_refused(Command::new(APP_B), &database, "cannot be", "move the file away").await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    seeded(&database).await;
    let statement = "INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 0)";
    execute(&database, statement).await.unwrap();
    assert_refused(
        Command::new(APP_B),
        &database,
        "cannot be migrated",
        "another version",
    )
    .await;
}

#[tokio::test]
async fn a_user_who_was_removed_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    seeded(&database).await;
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
async fn nobody_can_be_called_fail() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    seeded(&database).await;
    let statement =
        "INSERT INTO users (username, password_hash, token_hash) VALUES ('fail', 'x', randomblob(32))";
    let error = execute(&database, statement).await.unwrap_err();
    assert!(error.to_string().contains("CHECK"), "{error}");
}

#[tokio::test]
async fn neither_token_nor_password_is_in_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    seeded(&database).await;
    let bytes = std::fs::read(&database).unwrap();
    let contains = |needle: &str| {
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    };
    assert!(contains("density") && contains("$argon2id$"), "this is the file");
    for secret in ["mytoken", "adas-token", "devops", "analytical engine"] {
        assert!(!contains(secret), "{secret}");
    }
}
