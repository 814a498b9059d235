//! Tests of the binary: configuration, start, shutdown, and the content of the log.

use std::time::Duration;

use reqwest::{Client, Version};
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{Instant, timeout};
use wiring::exposition;

use super::log_reader;
use super::process::{Service, TEST_TIMEOUT, printed};
use super::support::{
    DEMO, DEMO_USERS, assert_demo_users, start, url, write_database_that_never_opens, write_demo_database,
};

const APP_B: &str = env!("CARGO_BIN_EXE_app_b");

#[tokio::test]
async fn a_closed_or_unread_output_loses_only_lines_of_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let variables = [DEMO, ("DATABASE_URL", &*url(&database))];
    log_reader::a_closed_output_loses_only_lines(APP_B, &variables).await;
    log_reader::an_unread_output_loses_only_lines(APP_B, &variables).await;
}

#[tokio::test]
async fn a_bad_value_exits_64_and_names_the_variable_and_the_accepted_values() {
    let cases = [
        (
            "DATABASE_URL",
            "postgres://user:secret@db/users",
            "sqlite:// and the path of a file",
        ),
        ("DATABASE_URL", "sqlite://", "sqlite:// and the path of a file"),
        (
            "DATABASE_URL",
            "/data/app_b.db",
            "sqlite:// and the path of a file",
        ),
        ("LISTEN", "nonsense", "127.0.0.1:5000"),
        ("MAX_BODY_BYTES", "64KiB", "a whole number"),
        ("LEGACY_STATUS", "1", "true or false"),
        ("USERS_FILE", "", "the path of a file"),
        ("DEMO_USERS", "yes", "true or false"),
    ];
    for (variable, value, accepted) in cases {
        let mut command = Command::new(APP_B);
        command.env_clear().env(variable, value).kill_on_drop(true);
        let output = timeout(Duration::from_secs(20), command.output())
            .await
            .expect("the binary exits")
            .unwrap();
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(64), "{variable}={value:?}: {printed}");
        assert!(
            printed.contains(variable) && printed.contains(accepted),
            "{variable}={value:?}: {printed}"
        );
        assert!(!printed.contains("secret"), "{printed}");
    }
}

#[tokio::test]
async fn a_second_start_does_not_change_the_users() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let database = url(&database);
    let variables = [("DATABASE_URL", database.as_str()), ("DRAIN_DELAY", "0s")];
    for _ in 0..2 {
        let service = start(&variables).ready().await;
        assert_demo_users(&service.url("")).await;
        service.signal(Signal::TERM);
        let output = service.output().await;
        assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
        let changed_none = printed(&output)
            .lines()
            .any(|line| line.contains(r#""users.changed":0"#));
        assert!(
            changed_none,
            "the second start changed the users: {}",
            printed(&output)
        );
    }
}

#[tokio::test]
async fn livez_responds_while_readyz_waits_for_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_database_that_never_opens(&database).await;
    let service = start(&[("DATABASE_URL", &url(&database))]);
    assert_eq!(first_readyz(&service).await, 503);
    assert_eq!(
        reqwest::get(service.admin_url("/livez")).await.unwrap().status(),
        200
    );
}

#[tokio::test]
async fn sigterm_while_the_database_opens_exits_0() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_database_that_never_opens(&database).await;
    let service = start(&[("DATABASE_URL", &url(&database))]);
    assert_eq!(first_readyz(&service).await, 503);
    service.signal(Signal::TERM);
    let output = service.output().await;
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

/// Returns the first status of `/readyz`, as soon as the admin listener responds.
async fn first_readyz(service: &Service) -> u16 {
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        if let Some(status) = service.readyz().await {
            return status;
        }
        assert!(Instant::now() < deadline, "the admin listener does not respond");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn no_secret_is_logged_at_any_level() {
    let directory = tempfile::tempdir().unwrap();
    let database = url(&directory.path().join("app_b.db"));
    let variables = [
        ("LOG_FILTER", "trace"),
        ("DATABASE_URL", database.as_str()),
        ("DRAIN_DELAY", "0s"),
    ];
    let service = start(&variables).ready().await;
    let http2 = Client::builder().http2_prior_knowledge().build().unwrap();
    for (client, version) in [(Client::new(), Version::HTTP_11), (http2, Version::HTTP_2)] {
        for token in DEMO_USERS
            .map(|(_, token)| token)
            .into_iter()
            .chain(["an-unknown-secret"])
        {
            let request = client.post(service.url("/auth")).form(&[("token", token)]);
            assert_eq!(request.send().await.unwrap().version(), version);
        }
    }
    service.signal(Signal::TERM);
    let printed = printed(&service.output().await);
    assert!(
        printed.contains("request completed"),
        "no access log at this level"
    );
    let tokens = DEMO_USERS.map(|(_, token)| token);
    for secret in tokens
        .into_iter()
        .chain(["an-unknown-secret", "devops", "argon2id"])
    {
        assert_eq!(printed.lines().find(|line| line.contains(secret)), None);
    }
}

#[tokio::test]
async fn probes_and_scrapes_do_not_count_as_requests() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app_b.db");
    write_demo_database(&database).await;
    let service = start(&[("DATABASE_URL", &url(&database))]).ready().await;
    for _ in 0..30 {
        service.readyz().await;
    }
    let text = service.metrics().await;
    let version = env!("CARGO_PKG_VERSION");
    let build_info = format!(
        r#"build_info{{image_tag="unknown",revision="unknown",service="app_b",version="{version}"}}"#
    );
    assert_eq!(exposition::value(&text, &build_info), Some(1.0), "{text}");
    let known = r#"http_requests_total{method="POST",route="/auth",status="200"}"#;
    assert_eq!(exposition::value(&text, known), Some(0.0), "{text}");
    assert_eq!(exposition::sum(&text, "http_requests_total"), Ok(0.0), "{text}");
}

#[test]
fn every_variable_is_documented_with_its_default() {
    use clap::CommandFactory;
    let documentation = include_str!("../../../docs/configuration.md");
    for argument in app_b::Config::command().get_arguments() {
        let Some(variable) = argument.get_env() else {
            continue;
        };
        let row = format!("| `{}` |", variable.to_str().unwrap());
        let row = documentation
            .lines()
            .find(|line| line.starts_with(&row))
            .expect(&row);
        // The default database depends on the machine.
        for default in argument
            .get_default_values()
            .iter()
            .filter(|_| variable != "DATABASE_URL")
        {
            assert!(
                row.contains(&format!("`{}`", default.to_str().unwrap())),
                "the default of the code is not in: {row}"
            );
        }
    }
}
