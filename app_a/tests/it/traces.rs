//! Traces: the headers that `app_a` forwards, and the spans of both services at an OpenTelemetry collector.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use clap::Parser;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message as _;
use reqwest::Client;
use reqwest::header::HeaderMap;
use rustix::process::Signal;
use service::trace::Export;
use tokio::net::TcpListener;
use tokio::time::Instant;
use wiring::exposition;

use super::process::{Service, printed};
use super::support::{COMMON_FLAGS, OneUser, serve_app_b, until};

const APP_A: &str = env!("CARGO_BIN_EXE_app_a");
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A span, as the collector received it.
#[derive(Debug, Clone)]
struct Received {
    service: String,
    name: String,
    kind: SpanKind,
    trace_id: String,
    span_id: String,
    parent: String,
    attributes: Vec<KeyValue>,
}

impl Received {
    fn attribute(&self, name: &str) -> Option<&Value> {
        attribute(&self.attributes, name)
    }
}

fn attribute<'a>(attributes: &'a [KeyValue], name: &str) -> Option<&'a Value> {
    let attribute = attributes.iter().find(|attribute| attribute.key == name)?;
    attribute.value.as_ref()?.value.as_ref()
}

fn hex(id: &[u8]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A collector that accepts OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Received>>>);

impl Collector {
    /// Starts the collector. Returns it with its URL.
    async fn start() -> (Self, String) {
        let collector = Self::default();
        let routes = Router::new()
            .route("/v1/traces", post(receive))
            .with_state(collector.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async { axum::serve(listener, routes).await });
        (collector, url)
    }

    fn spans(&self) -> Vec<Received> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until the collector has this number of spans.
    async fn until_spans(&self, count: usize) -> Vec<Received> {
        until("spans at the collector", || self.spans().len() >= count).await;
        self.spans()
    }
}

async fn receive(State(collector): State<Collector>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("a protobuf message");
    for resource in request.resource_spans {
        let Some(Value::StringValue(service)) = resource
            .resource
            .as_ref()
            .and_then(|resource| attribute(&resource.attributes, "service.name"))
        else {
            panic!("no service.name: {:?}", resource.resource);
        };
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let spans = spans.map(|span| Received {
            service: service.clone(),
            kind: span.kind(),
            name: span.name,
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent: hex(&span.parent_span_id),
            attributes: span.attributes,
        });
        collector.0.lock().unwrap().extend(spans);
    }
}

/// Starts `app_b` with export to a collector.
fn start_exporting_app_b(collector: &str) -> (SocketAddr, Export) {
    let endpoint = format!("--otel-exporter-otlp-endpoint={collector}");
    let config = app_b::Config::parse_from(COMMON_FLAGS.into_iter().chain([endpoint.as_str()]));
    let metrics = app_b::metrics::Metrics::new();
    let export = Export::start(&config.service, "app_b", "0", &metrics.registry).unwrap();
    let app = app_b::App {
        users: Arc::new(OneUser),
        metrics,
        tracer: export.tracer(),
        legacy_status: false,
    };
    (serve_app_b(app, &config), export)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_request_is_one_trace_with_the_spans_of_both_services() {
    let (collector, url) = Collector::start().await;
    let (app_b, export) = start_exporting_app_b(&url);
    let app_b = format!("http://{app_b}");
    let variables = [
        ("APP_B_URL", app_b.as_str()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
        ("OTEL_SERVICE_NAME", "frontend"),
        ("DRAIN_DELAY", "0s"),
    ];
    let service = Service::start(APP_A, &variables).ready().await;
    let request = Client::new()
        .put(service.url("/jobs"))
        .header("authorization", "mytoken")
        .header("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(request.send().await.unwrap().status(), 200);

    // The last spans are exported during the shutdown.
    service.signal(Signal::TERM);
    assert_eq!(service.output().await.status.code(), Some(0));
    export.flush().await;
    let spans = collector.until_spans(3).await;
    assert_eq!(spans.len(), 3, "{spans:?}");
    let find = |service: &str, kind| {
        let mut found = spans
            .iter()
            .filter(|span| span.service == service && span.kind == kind);
        found
            .next()
            .unwrap_or_else(|| panic!("{service} {kind:?}: {spans:?}"))
    };
    let request = find("frontend", SpanKind::Server);
    let call = find("frontend", SpanKind::Client);
    let auth = find("app_b", SpanKind::Server);
    assert_eq!(request.name, "PUT /jobs");
    assert_eq!(call.name, "POST /auth");
    assert_eq!(auth.name, "POST /auth");
    for span in &spans {
        assert_eq!(span.trace_id, TRACE, "{span:?}");
    }
    assert_eq!(request.parent, PARENT);
    assert_eq!(call.parent, request.span_id);
    assert_eq!(auth.parent, call.span_id);
    let status = Some(&Value::IntValue(200));
    assert_eq!(request.attribute("http.response.status_code"), status);
    assert_eq!(auth.attribute("http.response.status_code"), status);
    assert_eq!(
        call.attribute("url.full"),
        Some(&Value::StringValue(format!("{app_b}/auth")))
    );
}

#[tokio::test]
async fn the_sampler_leaves_the_decision_to_the_caller() {
    let (collector, url) = Collector::start().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("DRAIN_DELAY", "0s"),
    ];
    let service = Service::start(APP_A, &variables).ready().await;
    for flags in ["00", "01"] {
        let request = Client::new()
            .get(service.url("/hello"))
            .header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    service.signal(Signal::TERM);
    assert_eq!(service.output().await.status.code(), Some(0));
    assert_eq!(collector.spans().len(), 1, "{:?}", collector.spans());
}

/// The headers of a call to `app_b`.
async fn forwarded(request: &[(&'static str, &str)]) -> HeaderMap {
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let routes = Router::new().route(
        "/auth",
        post(async move |headers: HeaderMap| {
            sender.send(headers).await.unwrap();
            "density"
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let app_a = super::support::start_app_a(listener.local_addr().unwrap(), &[]);
    tokio::spawn(async { axum::serve(listener, routes).await });
    let mut call = Client::new()
        .put(app_a.url("/jobs"))
        .header("authorization", "mytoken");
    for (name, value) in request {
        call = call.header(*name, *value);
    }
    call.send().await.unwrap();
    receiver.recv().await.expect("a call to app_b")
}

/// The trace id, the span id and the flags of the `traceparent` of a call.
fn ids(call: &HeaderMap) -> [String; 3] {
    let mut values = call.get_all("traceparent").iter();
    let value = values.next().expect("a traceparent").to_str().unwrap();
    assert_eq!(values.next(), None, "one traceparent");
    let fields: Vec<_> = value.split('-').map(str::to_owned).collect();
    let [version, trace, parent, flags] = fields.try_into().expect("four fields");
    assert_eq!(
        (version.as_str(), trace.len(), parent.len()),
        ("00", 32, 16),
        "{value}"
    );
    [trace, parent, flags]
}

#[tokio::test]
async fn app_a_forwards_the_trace_with_a_new_parent_and_the_same_tracestate() {
    let traceparent = format!("00-{TRACE}-{PARENT}-01");
    let request = [
        ("traceparent", traceparent.as_str()),
        ("tracestate", "rojo=00f067aa0ba902b7, ,congo=t61rcWkgMzE"),
        ("tracestate", "other@vendor=1"),
    ];
    let (first, second) = (forwarded(&request).await, forwarded(&request).await);
    let ([trace, parent, flags], [second_trace, second_parent, _]) = (ids(&first), ids(&second));
    assert_eq!(
        (trace.as_str(), second_trace.as_str(), flags.as_str()),
        (TRACE, TRACE, "01")
    );
    assert_ne!(parent, PARENT);
    assert_ne!(parent, second_parent, "each call has its own parent");
    let states: Vec<_> = first.get_all("tracestate").iter().collect();
    assert_eq!(
        states,
        ["rojo=00f067aa0ba902b7, ,congo=t61rcWkgMzE", "other@vendor=1"]
    );
}

#[tokio::test]
async fn app_a_starts_a_new_trace_if_the_traceparent_is_missing_or_invalid() {
    let valid = format!("00-{TRACE}-{PARENT}-01");
    let invalid = format!("ff-{TRACE}-{PARENT}-01");
    for request in [
        vec![("tracestate", "congo=t61rcWkgMzE")],
        vec![
            ("traceparent", invalid.as_str()),
            ("tracestate", "congo=t61rcWkgMzE"),
        ],
        vec![
            ("traceparent", &valid),
            ("traceparent", &valid),
            ("tracestate", "congo=1"),
        ],
    ] {
        let call = forwarded(&request).await;
        let [trace, ..] = ids(&call);
        assert_ne!(trace, TRACE, "{request:?}");
        assert_ne!(trace, "0".repeat(32), "{request:?}");
        assert_eq!(call.get("tracestate"), None, "{request:?}");
    }
}

#[tokio::test]
async fn an_unreachable_collector_is_logged_and_neither_fails_requests_nor_the_shutdown() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
        ("OTEL_BSP_SCHEDULE_DELAY", "10"),
        ("DRAIN_DELAY", "0s"),
    ];
    let service = Service::start(APP_A, &variables).ready().await;
    let client = Client::new();
    let dropped = r#"trace_spans_dropped_total{reason="export_failed"}"#;
    let deadline = Instant::now() + super::process::TEST_TIMEOUT;
    // Enough exports that the limit of the log applies.
    while exposition::value(&service.metrics().await, dropped).unwrap() < 30.0 {
        assert!(Instant::now() < deadline, "no dropped spans are counted");
        let response = client.get(service.url("/hello")).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    service.signal(Signal::TERM);
    let output = service.output().await;
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let logged = printed.matches("check OTEL_EXPORTER_OTLP_ENDPOINT").count();
    assert!(logged >= 1, "{printed}");
    assert!(printed.contains("http://127.0.0.1:1/v1/traces"), "{printed}");
}

#[tokio::test]
async fn a_silent_collector_delays_neither_requests_nor_the_shutdown() {
    // Longer than the queue and the batch that waits for the collector.
    const REQUESTS: u32 = 3000;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        // The shutdown must not wait for the end of the export.
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "60000"),
        ("DRAIN_DELAY", "0s"),
    ];
    let service = Service::start(APP_A, &variables).ready().await;
    let client = Client::new();
    for _ in 0..REQUESTS {
        let response = client.get(service.url("/hello")).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let metrics = service.metrics().await;
    let dropped = exposition::value(&metrics, r#"trace_spans_dropped_total{reason="queue_full"}"#);
    assert_eq!(dropped, Some(f64::from(REQUESTS - 2048)), "{metrics}");
    let signalled = Instant::now();
    service.signal(Signal::TERM);
    let output = service.output().await;
    assert!(
        signalled.elapsed() < Duration::from_secs(20),
        "the shutdown took {:?}",
        signalled.elapsed()
    );
    let printed = printed(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    assert!(printed.contains("the last spans were not exported"), "{printed}");
}
