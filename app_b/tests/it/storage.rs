//! Failures of the database at the start and later: an unwritable path, a full disk, a damaged file, a newer version, a
//! removed file.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{Instant, timeout};

use super::process::{TEST_TIMEOUT, free_address, printed};
use super::support::{DEMO, auth, execute, files, start, url, with_file_size_limit, write_demo_database};

const APP_B: &str = env!("CARGO_BIN_EXE_app_b");

/// Runs the binary with this database until it exits.
async fn run(mut command: Command, database: &Path) -> Output {
    let (address, admin) = (free_address().to_string(), free_address().to_string());
    command
        .env_clear()
        .env("LISTEN", address)
        .env("ADMIN_LISTEN", admin);
    command
        .env("DATABASE_URL", url(database))
        .envs([DEMO])
        .kill_on_drop(true);
    timeout(TEST_TIMEOUT, command.output())
        .await
        .expect("the binary exits")
        .unwrap()
}

/// Asserts that the binary exits with code 1, and that its message contains the file, the reason and the advice.
async fn assert_start_fails(command: Command, database: &Path, reason: &str, advice: &str) {
    let output = run(command, database).await;
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in [database.to_str().unwrap(), reason, advice] {
        assert!(printed.contains(part), "{part:?} is missing: {printed}");
    }
}

#[tokio::test]
async fn a_full_disk_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    assert_start_fails(with_file_size_limit(8), &database, "cannot be", "free some space").await;
}

#[tokio::test]
async fn an_unwritable_path_fails_the_start() {
    // Permissions do not restrict root, so the test uses file systems in which no process can create files.
    let database = Path::new("/proc/app_b/app_b.db");
    assert_start_fails(
        Command::new(APP_B),
        database,
        "cannot be created",
        "set DATABASE_URL",
    )
    .await;
    let in_sys = Path::new("/sys/kernel/app_b.db");
    assert_start_fails(
        Command::new(APP_B),
        in_sys,
        "cannot be opened",
        "set DATABASE_URL",
    )
    .await;
}

#[tokio::test]
async fn a_read_only_disk_fails_the_start_and_the_database_stays_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let before = std::fs::read(&database).unwrap();
    // The directory is read-only in a new mount namespace. Most systems let any user create one.
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c"]);
    let remount = r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$1""#;
    command.args([remount, directory.path().to_str().unwrap(), APP_B]);
    assert_start_fails(
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
async fn a_removed_database_turns_readiness_off_with_the_reason_and_is_not_created_again() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let service = start(&[("DATABASE_URL", &url(&database)), ("DRAIN_DELAY", "0s")]);
    let service = service.ready().await;
    for name in files(directory.path()) {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    let deadline = Instant::now() + TEST_TIMEOUT;
    while service.readyz().await == Some(200) {
        assert!(Instant::now() < deadline, "/readyz still responds 200");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let reason = reqwest::get(service.admin_url("/readyz")).await.unwrap();
    let reason = reason.text().await.unwrap();
    assert!(reason.contains("was removed or replaced"), "{reason}");
    // Requests that need no database, and more lookups at once than there are open connections.
    let base = service.url("");
    let requests = (0..32).map(|_| auth(&base, "mytoken"));
    futures_util::future::join_all(requests).await;
    assert_eq!(reqwest::get(service.url("/unknown")).await.unwrap().status(), 404);
    assert_eq!(
        reqwest::get(service.admin_url("/livez")).await.unwrap().status(),
        200
    );
    assert!(
        files(directory.path()).is_empty(),
        "{:?}",
        files(directory.path())
    );
    service.signal(Signal::TERM);
    assert_eq!(service.output().await.status.code(), Some(0));
}

#[tokio::test]
async fn a_default_directory_that_others_can_write_to_fails_the_start() {
    let state = tempfile::tempdir().unwrap();
    let directory = state.path().join("app_b");
    std::fs::create_dir(&directory).unwrap();
    let set_mode = |mode| std::fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
    let default_database = [("XDG_STATE_HOME", state.path().to_str().unwrap())];

    set_mode(0o777);
    let output = start(&default_database).output().await;
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    for part in [
        directory.to_str().unwrap(),
        "can be written by other users",
        "set DATABASE_URL",
    ] {
        assert!(printed.contains(part), "{part:?} is missing: {printed}");
    }
    assert!(
        files(&directory).is_empty(),
        "the binary wrote into the directory"
    );

    // The check applies to the default directory only, not to a configured one.
    let configured = url(&directory.join("configured.db"));
    start(&[("DATABASE_URL", &configured)]).ready().await;

    set_mode(0o700);
    start(&default_database).ready().await;
    assert!(directory.join("app_b.db").exists());
}

#[tokio::test]
async fn a_file_in_place_of_the_directory_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("data");
    std::fs::write(&file, "a file").unwrap();
    assert_start_fails(
        Command::new(APP_B),
        &file.join("app_b.db"),
        "cannot be created",
        "set DATABASE_URL",
    )
    .await;
}

#[tokio::test]
async fn a_directory_in_place_of_the_file_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    std::fs::create_dir(&database).unwrap();
    assert_start_fails(
        Command::new(APP_B),
        &database,
        "cannot be opened",
        "set DATABASE_URL",
    )
    .await;
}

#[tokio::test]
async fn a_file_that_is_not_a_database_fails_the_start_and_stays_unchanged() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    let content = "not a database ".repeat(1000);
    std::fs::write(&database, &content).unwrap();
    assert_start_fails(
        Command::new(APP_B),
        &database,
        "not a database",
        "move the file away",
    )
    .await;
    assert_eq!(std::fs::read_to_string(&database).unwrap(), content);
}

#[tokio::test]
async fn a_damaged_database_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let mut bytes = std::fs::read(&database).unwrap();
    // The header stays intact, so that only a check of the pages finds the damage.
    bytes[4096..].fill(0x5a);
    std::fs::write(&database, bytes).unwrap();
    assert_start_fails(Command::new(APP_B), &database, "cannot be", "move the file away").await;
}

#[tokio::test]
async fn a_database_of_a_newer_version_fails_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let statement = "INSERT INTO _sqlx_migrations VALUES (99, 'later', CURRENT_TIMESTAMP, TRUE, x'00', 0)";
    execute(&database, statement).await.unwrap();
    assert_start_fails(
        Command::new(APP_B),
        &database,
        "cannot be migrated",
        "another version",
    )
    .await;
}
