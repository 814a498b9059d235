//! Request bodies, forms, TLS, HTTP/2, keep-alive and DNS.

use std::net::Ipv4Addr;

use axum::{
    Router,
    http::{HeaderMap, Version, header},
    routing::{get, post},
};

use crate::{process::loadtest, schema, support, tls};

/// A TLS server with a self-signed certificate for `shop.example`, and the file of that certificate.
struct Shop {
    port: u16,
    certificate: tempfile::NamedTempFile,
}

impl Shop {
    fn open() -> Self {
        let echo_version = |version: Version| async move { format!("{version:?}") };
        let (address, pem) = tls::serve_tls(Router::new().route("/", get(echo_version)), "shop.example");
        let certificate = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(certificate.path(), pem).unwrap();
        Self {
            port: address.port(),
            certificate,
        }
    }

    fn certificate(&self) -> &str {
        self.certificate.path().to_str().unwrap()
    }

    /// Runs a short load against `host` and returns the exit code and the output.
    fn run(&self, host: &str, flags: &[&str]) -> (Option<i32>, String) {
        let url = format!("https://{host}:{}/", self.port);
        loadtest_output(&[&["run", &url, "-q", "50", "-z", "500ms"], flags].concat())
    }
}

/// Runs `loadtest` and returns the exit code, standard output and standard error.
fn loadtest_output(arguments: &[&str]) -> (Option<i32>, String) {
    let output = loadtest(arguments);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn the_certificate_must_match_the_authority_and_the_name() {
    let shop = Shop::open();
    let resolve = format!("shop.example:{}:127.0.0.1", shop.port);
    let by_name = ["--resolve", &resolve, "--cacert", shop.certificate()];
    let (code, text) = shop.run("shop.example", &by_name);
    assert_eq!(code, Some(0), "{text}");

    let (code, text) = shop.run("shop.example", &["--resolve", &resolve]);
    assert_eq!(code, Some(104), "the certificate is not trusted: {text}");
    assert!(text.contains("certificate"), "{text}");

    let trusting = ["--cacert", shop.certificate()];
    let (code, text) = shop.run("127.0.0.1", &trusting);
    assert_eq!(code, Some(104), "the certificate is for another name: {text}");
    let (code, text) = shop.run("127.0.0.1", &[&trusting[..], &["--sni", "shop.example"]].concat());
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = shop.run("127.0.0.1", &[&trusting[..], &["--sni", "bank.example"]].concat());
    assert_eq!(code, Some(104), "{text}");
}

#[test]
fn the_report_mentions_an_unverified_certificate() {
    let shop = Shop::open();
    let (code, text) = shop.run("127.0.0.1", &["--insecure"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("NOT verified"), "{text}");
    let (_, text) = shop.run("127.0.0.1", &["-k", "--json"]);
    assert!(text.contains(r#""insecure": true"#), "{text}");
    let (_, text) = shop.run(
        "127.0.0.1",
        &["--cacert", shop.certificate(), "--sni", "shop.example", "--json"],
    );
    assert!(text.contains(r#""insecure": false"#), "{text}");
}

/// Runs a short load against the bank.
fn run_bank(bank: &tls::Bank, flags: &[&str]) -> (Option<i32>, String) {
    let load = ["-k", "-q", "20", "-z", "500ms", "--max-lag", "1s"];
    loadtest_output(&[&["run", &bank.url], &load[..], flags].concat())
}

/// Runs a short load against the bank with the certificate in one file and the key in another.
fn run_as(bank: &tls::Bank, certificate: &str, key: &str, flags: &[&str]) -> (Option<i32>, String) {
    let (certificate, key) = (bank.file(certificate), bank.file(key));
    let client = ["--cert", &certificate, "--key", &key];
    run_bank(bank, &[&client, flags].concat())
}

#[test]
fn a_server_that_requires_a_client_certificate_gets_it() {
    let bank = tls::Bank::open(Router::new().route("/", get(|| async { "Hello there" })));
    for version in [&[][..], &["--http2"]] {
        let (code, text) = run_as(&bank, "alice.crt", "alice.key", version);
        assert_eq!(code, Some(0), "{version:?}: {text}");
    }
    let both = [bank.file("alice.crt"), bank.file("alice.key")].map(|file| std::fs::read(file).unwrap());
    std::fs::write(bank.file("both.pem"), both.concat()).unwrap();
    let (code, text) = run_as(&bank, "both.pem", "both.pem", &[]);
    assert_eq!(code, Some(0), "one file can contain both: {text}");

    let (code, text) = run_bank(&bank, &[]);
    assert_eq!(code, Some(99), "{text}");
    assert!(text.contains("CertificateRequired"), "{text}");
    let (code, text) = run_as(&bank, "mallory.crt", "mallory.key", &[]);
    assert_eq!(code, Some(99), "another authority certifies mallory: {text}");
    assert!(text.contains("received fatal alert"), "{text}");
}

#[test]
fn an_unusable_client_certificate_exits_with_104_and_a_reason() {
    let bank = tls::Bank::open(Router::new());
    std::fs::write(bank.file("empty"), "").unwrap();
    std::fs::write(
        bank.file("broken"),
        "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    for (certificate, key, message) in [
        ("missing", "alice.key", "missing: No such file"),
        ("alice.crt", "missing", "missing: No such file"),
        ("empty", "alice.key", "empty: no certificate in PEM format"),
        ("broken", "alice.key", "broken: "),
        (
            "alice.crt",
            "alice.crt",
            "alice.crt: no private key in PEM format",
        ),
        (
            "alice.crt",
            "bob.key",
            "bob.key: the key does not belong to the certificate in",
        ),
    ] {
        let (code, text) = run_as(&bank, certificate, key, &[]);
        assert_eq!(code, Some(104), "{certificate}, {key}: {text}");
        assert!(text.contains(message), "{certificate}, {key}: {text}");
    }
    let (certificate, key) = (bank.file("alice.crt"), bank.file("alice.key"));
    let client = ["--cert", &certificate, "--key", &key];
    let load = ["-q", "20", "-z", "500ms"];
    let job = ["job", "--stripes", "2", "--image", "i:1"];
    let secret = ["--cert-secret", "client"];
    for (arguments, message) in [
        ([&["run", &bank.url], &client[..2], &load].concat(), "--key"),
        ([&["run", &bank.url], &client[2..], &load].concat(), "--cert"),
        (
            [&["run", "http://127.0.0.1:1/"], &client[..], &load].concat(),
            "https://",
        ),
        (
            [&job[..], &[&bank.url, "-k"], &client, &load].concat(),
            "--cert-secret",
        ),
        (
            [&job[..], &["http://127.0.0.1:1/"], &secret, &load].concat(),
            "https://",
        ),
    ] {
        let (code, text) = loadtest_output(&arguments);
        assert_eq!(code, Some(104), "{arguments:?}: {text}");
        assert!(text.contains(message), "{arguments:?}: {text}");
    }
}

#[test]
fn the_flags_select_the_http_version_over_tls() {
    let shop = Shop::open();
    let expecting = |version| ["-k", "--expect-body", version];
    let (code, text) = shop.run("127.0.0.1", &expecting("HTTP/1.1"));
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = shop.run("127.0.0.1", &[&expecting("HTTP/2.0")[..], &["--http2"]].concat());
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_stalled_handshake_delays_only_the_request_that_opens_the_connection() {
    // The test connection has the number 0, and the load opens the connections 1 and 2.
    let router = Router::new().route("/", get(|| async { "Hello there" }));
    for version in [&["--http2"][..], &[]] {
        let address = tls::serve_tls_with_stalled_handshake(router.clone(), 2);
        let url = format!("https://{address}/");
        let run = [
            "run", &url, "-k", "-q", "40", "-z", "1s", "-t", "3s", "-c", "2", "--json",
        ];
        let output = loadtest(&[&run, version].concat());
        let report = schema::report(&output.stdout);
        assert_eq!(
            (&report["requests"]["sent"], &report["requests"]["failed"]),
            (&40.into(), &1.into()),
            "{version:?}: {report}"
        );
        let p90 = report["latency_ms"]["p90"].as_f64().unwrap();
        assert!(p90 < 1000.0, "{version:?}: the p90 is {p90} ms");
    }
}

#[test]
fn the_body_comes_from_a_flag_a_file_or_a_form() {
    let echo = |headers: HeaderMap, body: String| async move {
        let kind = headers
            .get(header::CONTENT_TYPE)
            .map(|kind| kind.to_str().unwrap());
        format!("{} {body}", kind.unwrap_or("no type"))
    };
    let url = format!("http://{}/", support::serve(Router::new().route("/", post(echo))));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "from a file\n").unwrap();
    let path = file.path().to_str().unwrap();
    for (flags, received) in [
        (vec!["-d", "a text"], "no type a text"),
        (vec!["--body-file", path], "no type from a file\n"),
        (
            vec!["--form", "token=my token", "-F", "b=1&2"],
            "application/x-www-form-urlencoded token=my+token&b=1%262",
        ),
        (
            vec!["--form", "a=b", "-H", "Content-Type: text/plain"],
            "text/plain a=b",
        ),
    ] {
        let run = [
            "run",
            &url,
            "-m",
            "post",
            "-q",
            "20",
            "-z",
            "200ms",
            "--expect-body",
            received,
        ];
        let (code, text) = loadtest_output(&[&run, &flags[..]].concat());
        assert_eq!(code, Some(0), "{flags:?}: {text}");
    }
    let (code, text) = loadtest_output(&["run", &url, "-q", "20", "-z", "1s", "-d", "x", "-D", path]);
    assert_eq!(code, Some(104), "two body flags conflict: {text}");
}

#[test]
fn without_keep_alive_each_request_opens_a_connection() {
    let url = format!(
        "http://{}/",
        support::serve(Router::new().route("/", get(|| async { "Hello there" })))
    );
    let run = ["run", &url, "-q", "50", "-z", "1s", "--no-keep-alive", "--json"];
    let output = loadtest(&run);
    let report = schema::report(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["connections"]["opened"], 50);
}

#[test]
fn dns_lookups_during_the_load_lose_no_request_and_are_reported() {
    let address = support::serve(Router::new().route("/", get(|| async { "Hello there" })));
    let url = format!("http://localhost:{}/", address.port());
    for (flags, seconds) in [
        (&["--dns-ttl", "0"][..], Some(0.0)),
        (&["--dns-ttl", "1s"], Some(1.0)),
        (&[], None),
    ] {
        let run = ["run", &url, "-q", "50", "-z", "2s", "--no-keep-alive", "--json"];
        let output = loadtest(&[&run[..], flags].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let report = schema::report(&output.stdout);
        assert_eq!(
            (&report["requests"]["succeeded"], &report["connections"]["opened"]),
            (&100.into(), &100.into())
        );
        assert_eq!(report["plan"]["dns_ttl_seconds"].as_f64(), seconds);
    }
}

#[test]
fn tls_http2_and_flag_errors_exit_with_104_and_a_reason() {
    let plain = support::serve(Router::new().route("/", get(|| async { "Hello there" })));
    let plain = format!("https://{plain}/");
    let shop = Shop::open();
    let shop = format!("https://{}:{}/", Ipv4Addr::LOCALHOST, shop.port);
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    let http1_only = tls::serve_tls_http1("shop.example");
    let http1_only = format!("https://{http1_only}/");
    for (arguments, message) in [
        (vec![&plain[..], "-k"], "TLS"),
        (vec![&shop, "--cacert", "/no/such/file"], "/no/such/file"),
        (vec![&shop, "--cacert", empty], "no certificate"),
        (vec![&shop, "--resolve", "shop.example"], "HOST:PORT:ADDRESS"),
        (vec![&shop, "--dns-ttl", "soon"], "for example 500ms"),
        (vec![&shop, "--dns-ttl=-1s"], "for example 500ms"),
        (vec![&shop, "--sni", "not a name"], "host name"),
        (vec![&http1_only, "-k", "--http2"], "HTTP/2"),
        (vec![&shop, "-D", "/no/such/body"], "/no/such/body"),
        (vec![&shop, "-F", "field"], "NAME=VALUE"),
        (vec![&shop, "--streams", "5"], "--http2"),
    ] {
        let (code, text) = loadtest_output(&[&["run", "-q", "10", "-z", "1s"], &arguments[..]].concat());
        assert_eq!(code, Some(104), "{arguments:?}: {text}");
        assert!(
            text.contains(message),
            "{arguments:?}: {message:?} is missing in: {text}"
        );
    }
}
