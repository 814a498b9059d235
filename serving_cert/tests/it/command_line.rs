//! Tests of the program: exit codes, log and probe.

use crate::support::{VALIDITY, identity};
use rustix::process::{Pid, Signal, kill_process};
use serving_cert::{certificate::ServingCertificate, files::Files};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Command, Output, Stdio},
};
use tempfile::TempDir;
use time::OffsetDateTime;

/// Values for the settings without a default, and the admin listener.
const REQUIRED: [(&str, &str); 5] = [
    // Any free port, because tests run at the same time.
    ("ADMIN_LISTEN", "127.0.0.1:0"),
    ("API_SERVICE", "v1beta1.custom.metrics.k8s.io"),
    ("SERVICE_NAME", "prometheus-adapter"),
    ("SERVICE_NAMESPACE", "monitoring"),
    ("POD_NAME", "adapter-0"),
];

fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serving-cert"));
    command
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    command
}

fn serving_cert(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    command(arguments, environment).output().expect("started")
}

#[test]
fn a_bad_configuration_exits_64_and_names_the_variable_and_the_accepted_values() {
    for (variable, value, flag, accepted) in [
        (
            "VALIDITY",
            "soon",
            "--validity",
            "it accepts a duration from 1m to 36500days such as 30days",
        ),
        (
            "VALIDITY",
            "1s",
            "--validity",
            "it accepts a duration from 1m to 36500days such as 30days",
        ),
        (
            "VALIDITY",
            "9000years",
            "--validity",
            "it accepts a duration from 1m to 36500days such as 30days",
        ),
        (
            "RECONCILE_INTERVAL",
            "0s",
            "--reconcile-interval",
            "it accepts a duration of at least 100ms such as 10s",
        ),
        (
            "API_SERVICE",
            "",
            "--api-service",
            "it accepts a name of at least one character",
        ),
        (
            "ADMIN_LISTEN",
            "9000",
            "--admin-listen",
            "it accepts an IP address and a port",
        ),
        ("LOG_FORMAT", "xml", "--log-format", "it accepts auto, json, text"),
        ("LOG_FILTER", "", "--log-filter", "it accepts a level"),
    ] {
        let environment: Vec<_> = REQUIRED.iter().copied().chain([(variable, value)]).collect();
        let output = serving_cert(&["run"], &environment);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{variable}={value}: {message}");
        assert!(
            message.contains(&format!("{variable} (or {flag}) is {value:?}")) && message.contains(accepted),
            "{variable}={value}: {message}"
        );
    }
    let environment: Vec<_> = REQUIRED
        .iter()
        .copied()
        .chain([("VALIDITY", "1m"), ("RECONCILE_INTERVAL", "1h")])
        .collect();
    let output = serving_cert(&["run"], &environment);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{message}");
    assert!(
        message.contains("RECONCILE_INTERVAL") && message.contains("below 15 % of VALIDITY"),
        "{message}"
    );
    assert_eq!(serving_cert(&["run"], &[]).status.code(), Some(64));
    assert_eq!(serving_cert(&["--help"], &[]).status.code(), Some(0));
}

#[test]
fn a_failure_exits_1_and_is_logged_in_the_configured_format() {
    // Without a kubeconfig, and outside of a pod, the client finds no API server.
    let home = TempDir::new().expect("a directory");
    let home = home.path().to_str().expect("text");
    for (format, expected) in [
        (
            "json",
            r#""error":"found no configuration of a Kubernetes API server"#,
        ),
        ("text", "found no configuration of a Kubernetes API server"),
    ] {
        let additional = [("HOME", home), ("LOG_FORMAT", format)];
        let environment: Vec<_> = REQUIRED.iter().copied().chain(additional).collect();
        let output = serving_cert(&["run"], &environment);
        let log = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{log}");
        assert!(log.contains("ERROR") && log.contains(expected), "{format}: {log}");
        assert_eq!(log.starts_with('{'), format == "json", "{format}: {log}");
    }
}

/// The command `run` with a kubeconfig in `directory`, whose API server does not answer: no process listens on its port.
fn waiting(directory: &TempDir) -> Command {
    let kubeconfig = directory.path().join("config");
    let text = "{apiVersion: v1, kind: Config, current-context: c, \
                contexts: [{name: c, context: {cluster: c, user: u}}], users: [{name: u, user: {}}], \
                clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]}";
    std::fs::write(&kubeconfig, text).expect("written");
    let additional = [
        ("KUBECONFIG", kubeconfig.to_str().expect("text")),
        ("DIRECTORY", directory.path().to_str().expect("text")),
    ];
    let environment: Vec<_> = REQUIRED.iter().copied().chain(additional).collect();
    let mut command = command(&["run"], &environment);
    command.stdout(Stdio::piped());
    command
}

/// Sends a request to the admin listener, and returns its response.
fn request(address: &str, head: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(address).expect("connected");
    let length = body.len();
    write!(
        connection,
        "{head} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .expect("sent");
    let mut response = String::new();
    connection.read_to_string(&mut response).expect("a response");
    response
}

#[test]
fn the_admin_listener_answers_probes_and_scrapes_and_sets_the_log_level() {
    let directory = TempDir::new().expect("a directory");
    let mut child = waiting(&directory)
        .env("LOG_FORMAT", "json")
        .spawn()
        .expect("started");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let mut lines = lines.map(|line| line.expect("text"));
    let listening = lines.find(|line| line.contains("listening")).expect("an event");
    let (_, address) = listening.split_once(r#""admin.address":""#).expect("an address");
    let (address, _) = address.split_once('"').expect("the end of the address");
    lines
        .find(|line| line.contains("authority not published"))
        .expect("a warning");

    let live = request(address, "GET /livez", "");
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
    let ready = request(address, "GET /readyz", "");
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("starting: authority not published: "),
        "{ready}"
    );
    let metrics = request(address, "GET /metrics", "");
    for sample in [
        "\nlog_lines_dropped_total 0\n",
        "\nserving_certificate_renewals_total 0\n",
    ] {
        assert!(metrics.contains(sample), "no {sample:?} in {metrics}");
    }
    let level = request(address, "PUT /log-level", "error");
    assert!(level.starts_with("HTTP/1.1 200"), "{level}");
    let level = request(address, "GET /log-level", "");
    assert!(level.ends_with("\r\n\r\nerror\n"), "{level}");
    child.kill().expect("killed");
    child.wait().expect("exited");
}

#[test]
fn sigterm_and_sigint_exit_0() {
    let directory = TempDir::new().expect("a directory");
    for signal in [Signal::TERM, Signal::INT] {
        let mut child = waiting(&directory).spawn().expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        lines
            .by_ref()
            .map(|line| line.expect("text"))
            .find(|line| line.contains("authority not published"))
            .expect("a warning");
        kill_process(Pid::from_child(&child), signal).expect("signalled");
        let rest: Vec<_> = lines.map(|line| line.expect("text")).collect();
        assert_eq!(child.wait().expect("exited").code(), Some(0), "{rest:?}");
        assert!(rest.iter().any(|line| line.contains("shutting down")), "{rest:?}");
    }
}

#[test]
fn check_passes_for_a_valid_certificate_and_names_the_fault_otherwise() {
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
