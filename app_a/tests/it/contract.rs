//! The wire contract of `app_a` over a real socket. Each row is tested as text and as JSON, with and without
//! `--legacy-status` of each service.

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::support::{AppA, start_app_a, start_app_b};

const JOBS: &str = "Jobs:\nTitle: Devops\nDescription: Awesome\n";
const TEXT: &str = "text/html; charset=utf-8";

/// A token whose form exceeds the largest body that `app_b` accepts. In the form, each character becomes three.
const TOO_LONG: &str = match str::from_utf8(&[b'%'; 22_000]) {
    Ok(text) => text,
    Err(_) => panic!("percent signs are UTF-8"),
};

struct Row {
    method: &'static str,
    path: &'static str,
    authorization: Option<&'static str>,
    status: u16,
    /// The status with `--legacy-status`.
    legacy: u16,
    text: &'static str,
    json: Value,
}

fn row(
    request: &'static str,
    authorization: Option<&'static str>,
    status: (u16, u16),
    text: &'static str,
) -> Row {
    let (method, path) = request.split_once(' ').unwrap();
    let json = match text {
        "Hello there" => json!({ "message": "Hello there" }),
        JOBS => json!({ "jobs": [{ "title": "Devops", "description": "Awesome" }] }),
        error => json!({ "error": error }),
    };
    Row {
        method,
        path,
        authorization,
        status: status.0,
        legacy: status.1,
        text,
        json,
    }
}

fn contract() -> Vec<Row> {
    let mut rows = vec![
        row("GET /hello", None, (200, 200), "Hello there"),
        row("HEAD /hello", None, (200, 200), "Hello there"),
        row("POST /hello", None, (405, 405), "method not allowed"),
        row("PUT /hello", None, (405, 405), "method not allowed"),
        row("DELETE /hello", None, (405, 405), "method not allowed"),
        row("GET /", None, (404, 404), "not found"),
        row("GET /hello/", None, (404, 404), "not found"),
        row("POST /auth", None, (404, 404), "not found"),
        row("GET /metrics", None, (404, 404), "not found"),
    ];
    for method in ["GET /jobs", "HEAD /jobs", "DELETE /jobs"] {
        rows.push(row(method, Some("mytoken"), (405, 405), "method not allowed"));
    }
    for method in ["POST /jobs", "PUT /jobs"] {
        for valid in ["mytoken", "Bearer mytoken", "bearer mytoken", "BEARER   mytoken"] {
            rows.push(row(method, Some(valid), (200, 200), JOBS));
        }
        for invalid in [
            "wrong",
            "Bearer wrong",
            "MYTOKEN",
            "mytoken2",
            "Basic mytoken",
            "Bearer",
            "",
            "fail",
            "a&token=mytoken",
            TOO_LONG,
        ] {
            rows.push(row(method, Some(invalid), (401, 200), "fail"));
        }
        rows.push(row(method, None, (401, 200), "fail"));
    }
    rows
}

async fn send(app_a: &AppA, row: &Row, accept: Option<&str>) -> Response {
    let method: Method = row.method.parse().unwrap();
    let mut request = Client::new().request(method, app_a.url(row.path));
    request = row
        .authorization
        .into_iter()
        .fold(request, |request, value| request.header("authorization", value));
    request = accept
        .into_iter()
        .fold(request, |request, value| request.header("accept", value));
    request.send().await.unwrap()
}

async fn assert_contract(app_a: &AppA, legacy: bool) {
    for row in contract() {
        let authorization = row.authorization.map(|value| &value[..value.len().min(40)]);
        let name = format!("{} {} {authorization:?}, legacy {legacy}", row.method, row.path);
        let status = if legacy { row.legacy } else { row.status };
        let is_head = row.method == "HEAD";

        let route = if row.status == 404 { "unmatched" } else { row.path };
        let counter = format!(
            r#"http_requests_total{{method="{}",route="{route}",status="{status}"}}"#,
            row.method
        );
        let before = app_a.metric(&counter);

        let text = send(app_a, &row, None).await;
        assert_eq!(text.status(), status, "{name}");
        assert_eq!(
            app_a.metric(&counter),
            before + 1,
            "{name}: {counter} must increase by 1"
        );
        assert_headers(text.headers(), status, TEXT, &name);
        assert_eq!(
            text.headers()["content-length"],
            row.text.len().to_string(),
            "{name}"
        );
        assert_eq!(
            text.text().await.unwrap(),
            if is_head { "" } else { row.text },
            "{name}"
        );

        let json = send(app_a, &row, Some("application/json")).await;
        assert_eq!(json.status(), status, "{name} as JSON");
        assert_headers(json.headers(), status, "application/json", &name);
        if !is_head {
            assert_eq!(json.json::<Value>().await.unwrap(), row.json, "{name} as JSON");
        }
    }
}

fn assert_headers(headers: &HeaderMap, status: u16, content_type: &str, name: &str) {
    assert_eq!(headers["content-type"], content_type, "{name}");
    assert_eq!(headers["vary"], "accept", "{name}");
    assert_eq!(headers["x-served-by"], "pod-7", "{name}");
    assert!(headers.contains_key("x-request-id"), "{name}");
    assert_eq!(headers.contains_key("www-authenticate"), status == 401, "{name}");
    if status == 401 {
        assert_eq!(headers["www-authenticate"], "Bearer", "{name}");
    }
    assert_eq!(headers.contains_key("allow"), status == 405, "{name}");
}

#[tokio::test]
async fn options_lists_the_methods_of_each_route() {
    let app_a = start_app_a(start_app_b(&[]), &[]);
    for (path, methods) in [("/hello", "GET,HEAD,OPTIONS"), ("/jobs", "POST,PUT,OPTIONS")] {
        let request = Client::new().request(Method::OPTIONS, app_a.url(path));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["allow"], methods, "{path}");
    }
}

#[tokio::test]
async fn every_row_of_the_contract() {
    let app_a = start_app_a(start_app_b(&[]), &[]);
    assert_contract(&app_a, false).await;
}

#[tokio::test]
async fn every_row_with_legacy_status_of_app_b() {
    let app_a = start_app_a(start_app_b(&["--legacy-status"]), &[]);
    assert_contract(&app_a, false).await;
}

#[tokio::test]
async fn every_row_with_legacy_status_of_app_a() {
    let app_a = start_app_a(start_app_b(&[]), &["--legacy-status"]);
    assert_contract(&app_a, true).await;
}

#[tokio::test]
async fn every_row_with_legacy_status_of_both() {
    let app_a = start_app_a(start_app_b(&["--legacy-status"]), &["--legacy-status"]);
    assert_contract(&app_a, true).await;
}

#[tokio::test]
async fn the_allow_header_lists_the_methods() {
    let app_a = start_app_a(start_app_b(&[]), &[]);
    for (path, method, expected) in [
        ("/jobs", Method::GET, ["POST", "PUT"]),
        ("/hello", Method::POST, ["GET", "HEAD"]),
    ] {
        let response = Client::new()
            .request(method, app_a.url(path))
            .send()
            .await
            .unwrap();
        let allow = response.headers()["allow"].to_str().unwrap();
        let mut methods: Vec<_> = allow.split(',').map(str::trim).collect();
        methods.sort_unstable();
        assert_eq!(methods, expected, "{path}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_401() {
    let app_a = start_app_a(start_app_b(&[]), &[]);
    let request = Client::new().put(app_a.url("/jobs"));
    let response = request
        .header("authorization", "mytoken")
        .header("authorization", "mytoken")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 401);
}
