//! The binary as probes and people meet it.

use crate::support::{VALIDITY, identity};
use serving_cert::{certificate::ServingCertificate, files::Files};
use std::process::{Command, Output};
use tempfile::TempDir;
use time::OffsetDateTime;

fn serving_cert(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_serving-cert"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("started")
}

#[test]
fn bad_configuration_exits_64_and_names_the_setting_and_what_it_accepts() {
    let complete = [
        ("API_SERVICE", "v1beta1.custom.metrics.k8s.io"),
        ("SERVICE_NAME", "prometheus-adapter"),
        ("SERVICE_NAMESPACE", "monitoring"),
        ("POD_NAME", "adapter-0"),
    ];
    for (setting, value, flag, expected) in [
        (
            "VALIDITY",
            "soon",
            "--validity",
            "expected a duration such as 10s or 30days",
        ),
        ("VALIDITY", "1s", "--validity", "expected at least 1m"),
        (
            "RECONCILE_INTERVAL",
            "0s",
            "--reconcile-interval",
            "expected at least 100ms",
        ),
        ("API_SERVICE", "", "--api-service", "a value is required"),
    ] {
        let environment: Vec<_> = complete.iter().copied().chain([(setting, value)]).collect();
        let output = serving_cert(&["run"], &environment);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{setting}={value}: {message}");
        assert!(
            message.contains(flag) && message.contains(expected),
            "{setting}={value}: {message}"
        );
    }
    assert_eq!(serving_cert(&["run"], &[]).status.code(), Some(64));
    assert_eq!(serving_cert(&["--help"], &[]).status.code(), Some(0));
}

#[test]
fn check_passes_on_a_valid_pair_and_says_what_is_wrong_otherwise() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().to_str().expect("text");
    let check = || {
        let output = serving_cert(&["check"], &[("DIRECTORY", path)]);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let write = |now| {
        let certificate = ServingCertificate::issue(&identity("adapter-0"), VALIDITY, now).expect("issued");
        Files::new(path).write(&certificate).expect("written");
    };

    let (code, message) = check();
    assert_eq!(code, Some(1));
    assert!(message.contains("tls.crt"), "{message}");

    write(OffsetDateTime::now_utc());
    assert_eq!(check(), (Some(0), String::new()));

    write(OffsetDateTime::now_utc() - 2 * VALIDITY);
    let (code, message) = check();
    assert_eq!(code, Some(1));
    assert!(message.contains("expired at"), "{message}");
}
