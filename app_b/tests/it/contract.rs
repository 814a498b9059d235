//! The wire contract of `app_b` over a real socket. Each row is tested as text and as JSON, with and without
//! `--legacy-status`.

use std::net::SocketAddr;
use std::sync::Arc;

use app_b::store::{self, Lookup, Replaced, TokenHash, UserRecord, UserStore};
use app_b::{App, Config};
use clap::Parser;
use prometheus::Registry;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use service::server::Server;
use service::trace::Tracer;
use wiring::exposition;

use super::support::{url, write_demo_database};

const FORM: &str = "application/x-www-form-urlencoded";

/// Starts `app_b` with the demonstration users.
async fn start(flags: &[&str]) -> (SocketAddr, Registry, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app_b.db");
    write_demo_database(&path).await;
    let database = format!("--database-url={}", url(&path));
    let common = [
        "test",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--pod-name=pod-7",
        "--demo-users",
        &database,
    ];
    let config = Config::parse_from(common.iter().chain(flags));
    let metrics = app_b::metrics::Metrics::new();
    let app = App::new(&config, metrics, Tracer::OFF).await.unwrap();
    let registry = app.metrics.registry.clone();
    (serve(app, &config), registry, directory)
}

fn serve(app: App, config: &Config) -> SocketAddr {
    let server = Server::bind(&config.service, app.metrics.registry.clone()).unwrap();
    let address = server.address().unwrap();
    tokio::spawn(server.run(app_b::router(app, config), std::future::pending()));
    address
}

/// A user store that is always busy.
#[derive(Debug)]
struct BusyStore;

impl UserStore for BusyStore {
    fn user_by_token(&self, _: TokenHash) -> Lookup<'_> {
        Box::pin(async { Err(store::Error::Busy(sqlx::Error::PoolTimedOut)) })
    }

    fn replace_users<'a>(&'a self, _: &'a [UserRecord]) -> Replaced<'a> {
        Box::pin(async { Err(store::Error::Busy(sqlx::Error::PoolTimedOut)) })
    }
}

struct Row {
    method: Method,
    path: &'static str,
    content_type: Option<&'static str>,
    body: String,
    status: u16,
    /// The status with `--legacy-status`.
    legacy: u16,
    text: &'static str,
    json: Value,
}

fn post(content_type: Option<&'static str>, body: &str, status: (u16, u16), text: &'static str) -> Row {
    let json = if status.0 == 200 {
        json!({ "user": text })
    } else {
        json!({ "error": text })
    };
    let (status, legacy) = status;
    Row {
        method: Method::POST,
        path: "/auth",
        content_type,
        body: body.to_owned(),
        status,
        legacy,
        text,
        json,
    }
}

fn other(method: Method, path: &'static str, status: u16, text: &'static str) -> Row {
    Row {
        method,
        path,
        ..post(None, "", (status, status), text)
    }
}

fn contract() -> Vec<Row> {
    let mut rows = vec![
        post(Some(FORM), "token=mytoken", (200, 200), "density"),
        post(
            Some("application/x-www-form-urlencoded; charset=utf-8"),
            "token=mytoken",
            (200, 200),
            "density",
        ),
        post(Some(FORM), "x=y&token=%6dytoken", (200, 200), "density"),
        post(Some(FORM), "token=graces-token", (200, 200), "grace"),
        post(Some(FORM), "", (400, 200), "fail"),
        post(Some(FORM), "token=", (400, 200), "fail"),
        post(Some(FORM), "Token=mytoken", (400, 200), "fail"),
        post(Some(FORM), "user=density", (400, 200), "fail"),
        post(
            Some("application/json"),
            r#"{"token":"mytoken"}"#,
            (415, 200),
            "fail",
        ),
        post(Some("text/plain"), "token=mytoken", (415, 200), "fail"),
        post(
            Some("multipart/form-data; boundary=x"),
            "token=mytoken",
            (415, 200),
            "fail",
        ),
        post(None, "token=mytoken", (415, 200), "fail"),
        post(
            Some(FORM),
            &format!("token={}", "x".repeat(70_000)),
            (413, 413),
            "the request's body is too large",
        ),
        other(Method::GET, "/auth", 405, "method not allowed"),
        other(Method::PUT, "/auth", 405, "method not allowed"),
        other(Method::GET, "/", 404, "not found"),
        other(Method::GET, "/hello", 404, "not found"),
        other(Method::POST, "/auth/", 404, "not found"),
        other(Method::GET, "/metrics", 404, "not found"),
    ];
    let wrong = [
        "wrong",
        "MYTOKEN",
        "mytoken ",
        "mytoken%00",
        "%FF",
        "fail",
        "density",
        "' OR 1=1 --",
    ];
    rows.extend(wrong.map(|token| post(Some(FORM), &format!("token={token}"), (401, 200), "fail")));
    rows
}

async fn assert_contract(flags: &[&str], legacy: bool) {
    let (address, registry, _directory) = start(flags).await;
    for row in contract() {
        let status = if legacy { row.legacy } else { row.status };
        let route = if row.status == 404 { "unmatched" } else { row.path };
        let counter = format!(
            r#"http_requests_total{{method="{}",route="{route}",status="{status}"}}"#,
            row.method
        );
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the value of a counter"
        )]
        let count =
            || exposition::value(&service::metrics::text(&registry), &counter).unwrap_or_default() as u64;
        for accept in ["*/*", "application/json"] {
            let body = &row.body[..row.body.len().min(40)];
            let name = format!(
                "{} {} {:?} {body} as {accept}",
                row.method, row.path, row.content_type
            );
            let mut request =
                Client::new().request(row.method.clone(), format!("http://{address}{}", row.path));
            request = row
                .content_type
                .into_iter()
                .fold(request, |request, kind| request.header("content-type", kind));
            let before = count();
            let response = request
                .header("accept", accept)
                .body(row.body.clone())
                .send()
                .await
                .unwrap();
            assert_eq!(response.status(), status, "{name}");
            assert_eq!(count(), before + 1, "{name}: {counter} must increase by 1");
            let headers = response.headers().clone();
            assert_eq!(headers["x-served-by"], "pod-7", "{name}");
            assert_eq!(headers["vary"], "accept", "{name}");
            assert_eq!(headers.contains_key("allow"), status == 405, "{name}");
            assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{name}");
            if accept == "*/*" {
                assert_eq!(headers["content-type"], "text/html; charset=utf-8", "{name}");
                assert_eq!(response.text().await.unwrap(), row.text, "{name}");
            } else {
                assert_eq!(headers["content-type"], "application/json", "{name}");
                assert_eq!(response.json::<Value>().await.unwrap(), row.json, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn every_row_of_the_contract() {
    assert_contract(&[], false).await;
}

#[tokio::test]
async fn every_row_with_legacy_status() {
    assert_contract(&["--legacy-status"], true).await;
}

#[tokio::test]
async fn max_body_bytes_may_exceed_the_default_limit_of_axum() {
    let (address, _registry, _directory) = start(&["--max-body-bytes=4000000"]).await;
    let post = |bytes: usize| {
        let request = Client::new().post(format!("http://{address}/auth"));
        request.form(&[("token", "x".repeat(bytes))]).send()
    };
    assert_eq!(post(3_000_000).await.unwrap().status(), 401, "an unknown token");
    assert_eq!(post(4_000_000).await.unwrap().status(), 413);
}

#[tokio::test]
async fn a_busy_database_is_503_with_retry_after() {
    let config = Config::parse_from(["test", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"]);
    let app = App {
        users: Arc::new(BusyStore),
        metrics: app_b::metrics::Metrics::new(),
        tracer: Tracer::OFF,
        legacy_status: false,
    };
    let address = serve(app, &config);
    let request = Client::new().post(format!("http://{address}/auth"));
    let response = request.form(&[("token", "mytoken")]).send().await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.text().await.unwrap(), "overloaded, try again");
}

#[tokio::test]
async fn two_hundred_concurrent_requests_all_get_a_response() {
    let (address, _registry, _directory) = start(&[]).await;
    let service = format!("http://{address}");
    let requests = (0..200).map(|number| {
        let service = service.clone();
        tokio::spawn(async move {
            let (token, expected) = if number % 2 == 0 {
                ("mytoken", (200, "density"))
            } else {
                ("wrong", (401, "fail"))
            };
            let (status, body) = super::support::auth(&service, token).await;
            assert_eq!((status, body.as_str()), expected);
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
}
