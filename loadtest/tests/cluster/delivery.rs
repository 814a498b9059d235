//! A deployment for `loadtest verify`: a fake cluster, a program in place of kubectl, and a pair over HTTP and HTTPS.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::{fake_cluster::FakeCluster, schema, support::serve, tls::serve_tls};

/// The token of the pair. No report may contain it.
pub(crate) const TOKEN: &str = "s3cret-of-the-test";

/// What is wrong with the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairFault {
    None,
    /// Not a fault: `/hello` takes [`SLOW`].
    Slow,
    /// `/hello` answers with another text.
    Hello,
    /// One of two pods answers `/hello` with another text.
    HelloOfOnePod,
    /// `/hello` has another content type.
    ContentType,
    /// `PUT` is not allowed, as in the original.
    NoPut,
    /// Every token is accepted.
    AnyToken,
    /// A wrong token is refused with the status of the original, and the token is in the body.
    Legacy,
    /// HTTP is redirected to HTTPS.
    Redirect,
    /// HTTP is redirected to another path.
    WrongRedirect,
}

/// The response time of a pair that must look settled on a busy machine: the tolerance is a quarter of it, not 2 ms.
const SLOW: Duration = Duration::from_millis(200);

const TEXT: (header::HeaderName, &str) = (header::CONTENT_TYPE, "text/html; charset=utf-8");

fn hello(fault: PairFault, count: u64) -> Response {
    let wrong = fault == PairFault::Hello || (fault == PairFault::HelloOfOnePod && count.is_multiple_of(2));
    let text = if wrong { "Welcome to nginx!" } else { "Hello there" };
    if fault == PairFault::ContentType {
        return ([(header::CONTENT_TYPE, "text/plain")], text).into_response();
    }
    ([TEXT], text).into_response()
}

fn jobs(fault: PairFault, headers: &HeaderMap) -> Response {
    let sent = headers
        .get(header::AUTHORIZATION)
        .map(|value| value.to_str().unwrap());
    if sent == Some(TOKEN) || (fault == PairFault::AnyToken && sent.is_some()) {
        return ([TEXT], "Jobs:\nTitle: Devops\nDescription: Awesome\n").into_response();
    }
    if fault == PairFault::Legacy {
        return ([TEXT], format!("fail, not {TOKEN}")).into_response();
    }
    let headers = [TEXT, (header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, headers, "fail").into_response()
}

fn pair(fault: PairFault) -> Router {
    let count = Arc::new(AtomicU64::new(0));
    let answer_hello = move || {
        let number = count.fetch_add(1, Ordering::SeqCst);
        async move {
            if fault == PairFault::Slow {
                tokio::time::sleep(SLOW).await;
            }
            hello(fault, number)
        }
    };
    let answer_jobs = move |headers: HeaderMap| async move { jobs(fault, &headers) };
    let mut of_jobs = axum::routing::post(answer_jobs);
    if fault != PairFault::NoPut {
        of_jobs = of_jobs.put(answer_jobs);
    }
    Router::new()
        .route("/hello", get(answer_hello))
        .route("/jobs", of_jobs)
}

/// Redirects every request to HTTPS, as the load balancer on EKS does.
fn redirector(https: SocketAddr, fault: PairFault) -> Router {
    Router::new().fallback(move |uri: http::Uri| async move {
        let path = if fault == PairFault::Redirect {
            uri.path()
        } else {
            "/login"
        };
        let location = format!("https://127.0.0.1:{}{path}", https.port());
        (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, location)]).into_response()
    })
}

/// The deployment.
pub(crate) struct Delivery {
    pub(crate) cluster: FakeCluster,
    pub(crate) http: String,
    pub(crate) https: String,
    folder: TempDir,
}

impl Delivery {
    pub(crate) fn new(fault: PairFault) -> Self {
        let (https, certificate) = serve_tls(pair(fault), "shop.example");
        let http = if matches!(fault, PairFault::Redirect | PairFault::WrongRedirect) {
            serve(redirector(https, fault))
        } else {
            serve(pair(fault))
        };
        let delivery = Self {
            cluster: FakeCluster::with(|_| {}),
            http: format!("http://{http}"),
            https: format!("https://{https}"),
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(delivery.path("ca.pem"), certificate).unwrap();
        fs::write(delivery.path("token"), format!("{TOKEN}\n")).unwrap();
        delivery.kubectl(
            r#"echo '{"kind": "Deployment", "metadata": {"name": "app-a", "namespace": "sample-app"}}'"#,
        );
        delivery
    }

    /// Replaces kubectl by a shell script.
    pub(crate) fn kubectl(&self, script: &str) {
        let path = self.path("kubectl");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Runs `loadtest verify` with exactly these arguments, on the cluster.
    pub(crate) async fn command(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.cluster.serve().await;
        Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .arg("verify")
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.path())
            .env_remove("LOADTEST_TOKEN")
            .output()
            .await
            .unwrap()
    }

    /// Verifies a stage with the URLs, the token, the authority and the kubectl of this deployment, and short deadlines.
    pub(crate) async fn verify(&self, stage: &str, more: &[&str]) -> Verified {
        let names = ["json", "html", "junit"];
        let [json, html, junit] = names.map(|name| self.path(&format!("report.{name}")));
        let (token, authority, kubectl) = (self.path("token"), self.path("ca.pem"), self.path("kubectl"));
        let common = [
            "--stage",
            stage,
            "--http",
            &self.http,
            "--https",
            &self.https,
            "--token-file",
            &token,
            "--kubectl",
            &kubectl,
            "--json",
            &json,
            "--html",
            &html,
            "--junit",
            &junit,
            "--deadline",
            "hello-http=5s",
            "--deadline",
            "jobs-https=10s",
            "--deadline",
            "urls=20s",
            "--deadline",
            "apply=5s",
            "--deadline",
            "spread=1s",
        ];
        let trust = ["--cacert", &authority, "--sni", "shop.example"];
        let trust: &[&str] = if more.contains(&"--insecure") { &[] } else { &trust };
        let output = self.command(&[&common, trust, more].concat()).await;
        let read = |path: &str| fs::read_to_string(path).unwrap_or_else(|_| panic!("{output:?}"));
        let verified = Verified {
            code: output.status.code().unwrap(),
            text: String::from_utf8_lossy(&output.stdout).into_owned(),
            progress: String::from_utf8_lossy(&output.stderr).into_owned(),
            report: schema::report(read(&json).as_bytes()),
            page: read(&html),
            junit: read(&junit),
        };
        for text in [
            &verified.text,
            &verified.progress,
            &read(&json),
            &verified.page,
            &verified.junit,
        ] {
            assert!(!text.contains(TOKEN), "the token is in a report: {text}");
        }
        verified
    }
}

/// What a command wrote.
pub(crate) struct Verified {
    pub(crate) code: i32,
    pub(crate) text: String,
    pub(crate) progress: String,
    pub(crate) report: Value,
    pub(crate) page: String,
    pub(crate) junit: String,
}

impl Verified {
    fn test(&self, name: &str) -> &Value {
        let tests = self.report["tests"].as_array().unwrap();
        tests.iter().find(|test| test["name"] == name).unwrap()
    }

    /// Returns the names of the tests with a status.
    pub(crate) fn names(&self, status: &str) -> Vec<&str> {
        let tests = self.report["tests"].as_array().unwrap().iter();
        tests
            .filter(|test| test["status"] == status)
            .map(|test| test["name"].as_str().unwrap())
            .collect()
    }

    /// Asserts that exactly this test failed, for a reason that contains `reason`, and that every report says so.
    pub(crate) fn assert_failed_only(&self, name: &str, reason: &str, seen: &str) {
        assert_eq!(self.names("failed"), [name], "{}", self.text);
        assert_eq!(self.code, 1, "{}", self.text);
        let outcome = self.test(name);
        for (field, part) in [("reason", reason), ("seen", seen)] {
            let text = outcome[field].as_str().unwrap();
            assert!(text.contains(part), "{part:?} is missing in the {field}: {text}");
        }
        assert!(self.text.starts_with("FAILED: stage "), "{}", self.text);
        assert!(self.text.contains(&format!("FAILED {name}: ")), "{}", self.text);
        assert!(
            self.page.contains("<h1 class=\"bad\">FAILED</h1>"),
            "{}",
            self.page
        );
        assert!(self.junit.contains("failures=\"1\""), "{}", self.junit);
    }
}
