//! A bad value makes the binary exit with code 64. The message names the variable and the accepted values.

use std::process::Output;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use super::process::printed;

async fn run(variables: &[(&str, &str)], flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_app_a"));
    command
        .env_clear()
        .envs(variables.iter().copied())
        .args(flags)
        .kill_on_drop(true);
    timeout(Duration::from_secs(20), command.output())
        .await
        .expect("the binary exits")
        .unwrap()
}

#[tokio::test]
async fn a_bad_value_exits_64_and_names_the_variable_and_the_accepted_values() {
    let duration = "a duration above 0";
    let cases = [
        ("LISTEN", "nonsense", "127.0.0.1:5000"),
        ("LISTEN", "localhost:5000", "127.0.0.1:5000"),
        ("LISTEN", "", "127.0.0.1:5000"),
        ("ADMIN_LISTEN", "9000", "an IP address and a port"),
        (
            "ADMIN_LISTEN",
            "127.0.0.1:5000",
            "an address or a port different from LISTEN",
        ),
        ("LOG_FORMAT", "xml", "auto, json, text"),
        ("LOG_FILTER", "app_a=loud", "debug"),
        ("LOG_FILTER", "", "debug"),
        ("REQUEST_TIMEOUT", "10", duration),
        ("REQUEST_TIMEOUT", "0s", duration),
        ("REQUEST_TIMEOUT", "99years", "at most a day"),
        ("REQUEST_TIMEOUT", "-1s", duration),
        ("MAX_IN_FLIGHT", "0", "a whole number above 0"),
        ("MAX_IN_FLIGHT", "many", "a whole number above 0"),
        ("MAX_BODY_BYTES", "64KiB", "a whole number"),
        ("HEADER_READ_TIMEOUT", "soon", duration),
        ("KEEP_ALIVE_TIMEOUT", "0s", duration),
        ("MAX_CONNECTION_AGE", "0ms", duration),
        ("DRAIN_DELAY", "five", "a duration"),
        ("DRAIN_DEADLINE", "0s", duration),
        ("POD_NAME", "pod 7", "visible ASCII"),
        ("POD_NAME", "", "visible ASCII"),
        ("LEGACY_STATUS", "yes", "true or false"),
        ("LEGACY_STATUS", "", "true or false"),
        ("TLS_LISTEN", "5443", "an IP address and a port"),
        ("TLS_LISTEN", "127.0.0.1:5443", "TLS_SELF_SIGNED=true"),
        ("TLS_CERT_FILE", "", "the path of a file"),
        ("TLS_CERT_FILE", "/tls.crt", "set both or none"),
        ("TLS_KEY_FILE", "/tls.key", "set both or none"),
        ("TLS_SELF_SIGNED", "true", "no effect without TLS_LISTEN"),
        ("APP_B_URL", "app-b:5001", "http://app-b:5001"),
        ("APP_B_URL", "https://app-b:5001", "http://app-b:5001"),
        ("APP_B_URL", "http://app-b:5001/auth", "no path"),
        ("APP_B_CONNECT_TIMEOUT", "1", duration),
        ("APP_B_CONNECT_TIMEOUT", "4s", "at most APP_B_TIMEOUT"),
        ("APP_B_TIMEOUT", "10s", "below REQUEST_TIMEOUT"),
        ("APP_B_CONNECTIONS", "0", "from 1 to 256"),
        ("APP_B_CONNECTIONS", "257", "from 1 to 256"),
        ("APP_B_POOL_MAX_IDLE", "-1", "a whole number"),
        ("APP_B_POOL_MAX_IDLE", "7", "at least APP_B_CONNECTIONS"),
        ("APP_B_POOL_IDLE_TIMEOUT", "never", duration),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "collector:4318",
            "http://collector:4318",
        ),
        (
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "https://collector:4318",
            "not https",
        ),
        ("OTEL_TRACES_SAMPLER", "sometimes", "parentbased_always_on"),
        ("OTEL_TRACES_SAMPLER_ARG", "2", "a number from 0 to 1"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.1", "traceidratio"),
    ];
    for (variable, value, accepted) in cases {
        let output = run(&[(variable, value)], &[]).await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(64), "{variable}={value:?}: {printed}");
        assert!(
            printed.contains(variable),
            "{variable}={value:?}: the message does not name the variable: {printed}"
        );
        assert!(printed.contains(accepted), "{variable}={value:?}: {printed}");
    }
}

#[tokio::test]
async fn the_tls_listener_needs_an_address_of_its_own() {
    for variable in ["LISTEN", "ADMIN_LISTEN"] {
        let address = "127.0.0.1:5443";
        let output = run(
            &[(variable, address), ("TLS_LISTEN", address)],
            &["--tls-self-signed"],
        )
        .await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(64), "{printed}");
        assert!(
            printed.contains("different from LISTEN and ADMIN_LISTEN"),
            "{printed}"
        );
    }
}

#[tokio::test]
async fn a_bad_flag_is_reported_by_its_variable_too() {
    let output = run(&[], &["--drain-delay=soon"]).await;
    assert_eq!(output.status.code(), Some(64));
    let printed = printed(&output);
    assert!(
        printed.contains("DRAIN_DELAY (or --drain-delay)") && printed.contains("soon"),
        "{printed}"
    );
    let unknown = run(&[], &["--no-such-flag"]).await;
    assert_eq!(unknown.status.code(), Some(64));
}

#[tokio::test]
async fn the_message_does_not_contain_a_rejected_url() {
    for url in [
        "http://u:secret@host",
        "http://secret@host",
        "http://host/?token=secret",
    ] {
        let flag = format!("--app-b-url={url}");
        for output in [run(&[("APP_B_URL", url)], &[]).await, run(&[], &[&flag]).await] {
            let printed = printed(&output);
            assert_eq!(output.status.code(), Some(64), "{url}: {printed}");
            assert!(printed.contains("APP_B_URL (or --app-b-url)"), "{url}: {printed}");
            assert!(!printed.contains("secret"), "{url}: {printed}");
        }
    }
    let help = run(&[("APP_B_URL", "http://u:secret@host")], &["--help"]).await;
    assert!(!printed(&help).contains("secret"), "{}", printed(&help));
}

#[tokio::test]
async fn help_and_version_exit_0() {
    let help = run(&[], &["--help"]).await;
    assert_eq!(help.status.code(), Some(0));
    for variable in [
        "LISTEN",
        "MAX_CONNECTION_AGE",
        "TLS_LISTEN",
        "APP_B_URL",
        "LEGACY_STATUS",
    ] {
        assert!(printed(&help).contains(variable), "{variable}");
    }
    assert_eq!(run(&[], &["--version"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn an_address_in_use_exits_1_and_names_the_variable() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, flags) in [
        ("LISTEN", &[][..]),
        ("ADMIN_LISTEN", &[]),
        ("TLS_LISTEN", &["--tls-self-signed"]),
    ] {
        let mut variables = vec![("LISTEN", "127.0.0.1:0"), ("ADMIN_LISTEN", "127.0.0.1:0")];
        variables.push((variable, &address));
        let output = run(&variables, flags).await;
        let printed = printed(&output);
        assert_eq!(output.status.code(), Some(1), "{printed}");
        assert!(
            printed.contains(&address) && printed.contains(variable),
            "{printed}"
        );
    }
}

#[test]
fn every_variable_is_documented_with_its_default() {
    use clap::CommandFactory;
    let documentation = include_str!("../../../docs/configuration.md");
    for argument in app_a::Config::command().get_arguments() {
        let Some(variable) = argument.get_env() else {
            continue;
        };
        let row = format!("| `{}` |", variable.to_str().unwrap());
        let row = documentation
            .lines()
            .find(|line| line.starts_with(&row))
            .expect(&row);
        for default in argument.get_default_values() {
            assert!(
                row.contains(&format!("`{}`", default.to_str().unwrap())),
                "the default of the code is not in: {row}"
            );
        }
    }
}
