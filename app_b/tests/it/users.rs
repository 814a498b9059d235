//! The source of the users: the settings, the users file and its changes, and the command that prints its lines.

use std::fs;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use wiring::exposition;

use super::mount::Mount;
use super::process::{Service, TEST_TIMEOUT, printed};
use super::support::{DEMO, DEMO_USERS, auth, url};

const APP_B: &str = env!("CARGO_BIN_EXE_app_b");

const ADAS_TOKEN: &str = "ada-0123456789abcdef0123456789abcdef";
const GRACES_TOKEN: &str = "grace-0123456789abcdef0123456789abcdef";

/// Runs `app_b user-entry NAME` with this standard input.
async fn user_entry(name: &str, stdin: &str) -> Output {
    let mut child = Command::new(APP_B)
        .args(["user-entry", name])
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // The command rejects a bad name before it reads.
    child.stdin.take().unwrap().write_all(stdin.as_bytes()).await.ok();
    timeout(TEST_TIMEOUT, child.wait_with_output())
        .await
        .expect("the command exits")
        .unwrap()
}

/// Returns the line that the command prints.
async fn line(name: &str, token: &str) -> String {
    let output = user_entry(name, &format!("{token}\n")).await;
    assert!(output.status.success(), "{}", printed(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A mount with a users file.
fn mount(content: &str) -> Mount {
    Mount::new(&[("users", content)])
}

/// Starts the binary with a users file and a new database.
async fn start(file: &Path, database: &Path) -> Service {
    let variables = [
        ("USERS_FILE", file.to_str().unwrap()),
        ("DATABASE_URL", &url(database)),
        ("DRAIN_DELAY", "0s"),
    ];
    Service::start(APP_B, &variables).ready().await
}

async fn until_status(service: &Service, token: &str, status: u16) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while auth(&service.url(""), token).await.0 != status {
        assert!(Instant::now() < deadline, "{token} does not get status {status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_reload(service: &Service, successful: f64) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while exposition::value(&service.metrics().await, "users_last_reload_successful") != Some(successful) {
        assert!(
            Instant::now() < deadline,
            "users_last_reload_successful is not {successful}"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_start_without_users_exits_64_and_says_what_to_set() {
    let directory = tempfile::tempdir().unwrap();
    let database = url(&directory.path().join("app_b.db"));
    let both = [DEMO, ("USERS_FILE", "/etc/app_b/users")];
    for variables in [&[][..], &both] {
        let variables = [variables, &[("DATABASE_URL", &*database)]].concat();
        let output = Service::start(APP_B, &variables).output().await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(64), "{printed}");
        for part in ["USERS_FILE", "DEMO_USERS"] {
            assert!(printed.contains(part), "{part:?} is missing: {printed}");
        }
    }
    assert!(
        fs::read_dir(directory.path()).unwrap().next().is_none(),
        "a file was created"
    );
}

#[tokio::test]
async fn a_printed_line_gives_its_user_access_and_nobody_else_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users");
    fs::write(&file, format!("# team\n{}", line("ada", ADAS_TOKEN).await)).unwrap();
    let service = start(&file, &directory.path().join("app_b.db")).await;
    assert_eq!(auth(&service.url(""), ADAS_TOKEN).await, (200, "ada".to_owned()));
    for (_, token) in DEMO_USERS {
        assert_eq!(auth(&service.url(""), token).await.0, 401, "{token}");
    }
    assert!(!fs::read_to_string(&file).unwrap().contains(ADAS_TOKEN));
}

#[tokio::test]
async fn a_bad_name_or_token_exits_64_and_says_what_is_accepted() {
    let cases = [
        ("Ada", ADAS_TOKEN, "a-z 0-9"),
        ("fail", ADAS_TOKEN, "a-z 0-9"),
        ("ada", "", "openssl rand -hex 32"),
        ("ada", "a-short-secret", "openssl rand -hex 32"),
        ("ada", &format!("{ADAS_TOKEN}\n{GRACES_TOKEN}"), "one line"),
        ("ada", &"x".repeat(100_000), "4096"),
    ];
    for (name, token, accepted) in cases {
        let output = user_entry(name, token).await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(64), "{name}: {printed}");
        assert!(
            printed.contains(accepted) && output.stdout.is_empty(),
            "{name}: {printed}"
        );
        assert!(!printed.contains("secret"), "{printed}");
    }
}

#[tokio::test]
async fn a_new_version_of_a_mounted_secret_adds_and_removes_users() {
    let directory = tempfile::tempdir().unwrap();
    let (ada, grace) = (line("ada", ADAS_TOKEN).await, line("grace", GRACES_TOKEN).await);
    let mut mount = mount(&ada);
    let service = start(&mount.file("users"), &directory.path().join("app_b.db")).await;
    assert_eq!(auth(&service.url(""), ADAS_TOKEN).await.0, 200);
    assert_eq!(auth(&service.url(""), GRACES_TOKEN).await.0, 401);

    mount.write(&[("users", &format!("{ada}{grace}"))]);
    until_status(&service, GRACES_TOKEN, 200).await;
    assert_eq!(auth(&service.url(""), ADAS_TOKEN).await, (200, "ada".to_owned()));

    mount.write(&[("users", &grace)]);
    until_status(&service, ADAS_TOKEN, 401).await;
    assert_eq!(
        auth(&service.url(""), GRACES_TOKEN).await,
        (200, "grace".to_owned())
    );

    // The token of one user moves to another.
    mount.write(&[("users", &line("ada", GRACES_TOKEN).await)]);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while auth(&service.url(""), GRACES_TOKEN).await != (200, "ada".to_owned()) {
        assert!(Instant::now() < deadline, "the token did not move");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    mount.write(&[("users", "# nobody\n")]);
    until_status(&service, GRACES_TOKEN, 401).await;
}

#[tokio::test]
async fn a_bad_version_keeps_the_users_is_logged_once_and_shows_in_the_metric() {
    let directory = tempfile::tempdir().unwrap();
    let ada = line("ada", ADAS_TOKEN).await;
    let mut mount = mount(&ada);
    let service = start(&mount.file("users"), &directory.path().join("app_b.db")).await;
    until_reload(&service, 1.0).await;

    mount.write(&[("users", &format!("{ada}grace {GRACES_TOKEN}\n"))]);
    until_reload(&service, 0.0).await;
    // Time for several reads of the same bad file.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(auth(&service.url(""), ADAS_TOKEN).await, (200, "ada".to_owned()));

    mount.write(&[("users", &ada)]);
    until_reload(&service, 1.0).await;

    // A version without the file.
    fs::remove_file(mount.file("users")).unwrap();
    until_reload(&service, 0.0).await;
    assert_eq!(auth(&service.url(""), ADAS_TOKEN).await, (200, "ada".to_owned()));

    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    let warnings = |part: &str| {
        let is_warning = |line: &&str| line.contains(r#""level":"WARN""#) && line.contains(part);
        printed.lines().filter(is_warning).count()
    };
    assert_eq!(warnings("line 2"), 1, "{printed}");
    assert_eq!(warnings("cannot be read"), 1, "{printed}");
    assert!(!printed.contains(GRACES_TOKEN), "{printed}");
}

#[tokio::test]
async fn a_start_with_a_bad_users_file_fails_and_names_the_fault() {
    let directory = tempfile::tempdir().unwrap();
    let bad = directory.path().join("bad");
    fs::write(&bad, "# team\nada my-secret-token\n").unwrap();
    let database = url(&directory.path().join("app_b.db"));
    let cases = [
        (bad, "line 2", "app_b user-entry NAME"),
        (
            directory.path().join("missing"),
            "cannot be read",
            "set USERS_FILE",
        ),
        (
            directory.path().to_owned(),
            "it is not a regular file",
            "set USERS_FILE",
        ),
    ];
    for (file, reason, advice) in cases {
        let file = file.to_str().unwrap();
        let variables = [("USERS_FILE", file), ("DATABASE_URL", &database)];
        let output = Service::start(APP_B, &variables).output().await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        for part in [file, reason, advice] {
            assert!(printed.contains(part), "{part:?} is missing: {printed}");
        }
        assert!(!printed.contains("secret"), "{printed}");
    }
}
