//! A server with a route that blocks until a test releases it, and a client that sends and reads raw bytes.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use clap::Parser;
use futures_util::stream::{self, StreamExt};
use prometheus::Registry;
use service::config::{ServiceConfig, TlsConfig};
use service::metrics::{HttpMetrics, KnownRoute};
use service::middleware::{self, Settings};
use service::reply::Cause;
use service::server::Server;
use service::trace::Tracer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use wiring::exposition;

/// The time limit of every wait in these tests.
pub(crate) const TEST_TIMEOUT: Duration = Duration::from_secs(20);

#[derive(Debug, Parser)]
struct Flags {
    #[command(flatten)]
    service: ServiceConfig,
    #[command(flatten)]
    tls: TlsConfig,
}

/// Returns a configuration on free ports, with additional flags.
pub(crate) fn config(flags: &[&str]) -> ServiceConfig {
    parse(flags).service
}

fn parse(flags: &[&str]) -> Flags {
    let common = [
        "test",
        "--listen=127.0.0.1:0",
        "--admin-listen=127.0.0.1:0",
        "--pod-name=pod-7",
    ];
    Flags::parse_from(common.iter().chain(flags))
}

/// A running server.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) admin: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) http: HttpMetrics,
    /// Each permit releases one request for `/wait`.
    pub(crate) gate: Arc<Semaphore>,
    shutdown: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl TestServer {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let config = config(flags);
        let registry = Registry::new();
        let server = Server::bind(&config, registry.clone()).unwrap();
        Self::run(server, &config, registry)
    }

    /// Starts a server that also terminates TLS, on a free port.
    pub(crate) async fn start_with_tls(flags: &[&str]) -> Self {
        let flags = parse(&[flags, &["--tls-listen=127.0.0.1:0"]].concat());
        flags.tls.check(&flags.service).unwrap();
        let registry = Registry::new();
        let server = Server::bind(&flags.service, registry.clone()).unwrap();
        let server = server.with_tls(&flags.tls, &registry).await.unwrap();
        Self::run(server, &flags.service, registry)
    }

    fn run(server: Server, config: &ServiceConfig, registry: Registry) -> Self {
        let known =
            ["/ok", "/wait", "/panic", "/size", "/stream", "/large", "/fail"].map(|path| KnownRoute {
                path,
                methods: &["GET", "HEAD"],
            });
        let http = HttpMetrics::new(&registry, &known);
        let gate = Arc::new(Semaphore::new(0));

        let settings = Settings::new(config, StatusCode::GATEWAY_TIMEOUT, Tracer::OFF);
        let router = middleware::apply(routes(Arc::clone(&gate)), &settings, http);
        let (address, admin) = (server.address().unwrap(), server.admin_address());
        let tls = server.tls_address().unwrap();
        let (shutdown, shutdown_requested) = oneshot::channel();
        let task = tokio::spawn(server.run(router, async {
            shutdown_requested.await.ok();
        }));
        Self {
            address,
            tls,
            admin,
            registry,
            http,
            gate,
            shutdown: Some(shutdown),
            task,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Starts the shutdown, as SIGTERM does.
    pub(crate) fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    pub(crate) fn has_stopped(&self) -> bool {
        self.task.is_finished()
    }

    /// Waits until the server has stopped, and returns its result.
    pub(crate) async fn stopped(self) -> anyhow::Result<()> {
        timeout(TEST_TIMEOUT, self.task)
            .await
            .expect("the server stops")
            .unwrap()
    }

    /// Returns the value of a series. `series` is `name{labels}` as in the text format. `None` if the series does not
    /// exist.
    pub(crate) fn metric(&self, series: &str) -> Option<f64> {
        exposition::value(&service::metrics::text(&self.registry), series)
    }

    /// Waits until exactly this many connections have ended for this reason.
    pub(crate) async fn until_ended(&self, reason: &str, connections: f64) {
        let series = format!(r#"http_connections_closed_total{{reason="{reason}"}}"#);
        let what = format!("{connections} connections ended: {reason}");
        until(&what, || self.metric(&series) == Some(connections)).await;
    }

    /// Waits until exactly this many requests are in flight.
    pub(crate) async fn until_in_flight(&self, requests: i64) {
        let what = format!("{requests} requests in flight");
        until(&what, || self.http.in_flight() == requests).await;
    }
}

/// The size of the response of `/large`: more than the buffers of two sockets.
pub(crate) const LARGE_BYTES: usize = 32 * 1024 * 1024;

fn routes(gate: Arc<Semaphore>) -> Router {
    let stream_gate = Arc::clone(&gate);
    let wait = async move || {
        gate.acquire().await.unwrap().forget();
        "waited"
    };
    let stream = async move || {
        let parts = stream::once(async { Ok::<_, Infallible>("first, ") }).chain(stream::once(async move {
            stream_gate.acquire().await.unwrap().forget();
            Ok("last")
        }));
        Body::from_stream(parts)
    };
    Router::new()
        .route("/ok", get(async || "ok"))
        .route(
            "/fail",
            get(async || (StatusCode::BAD_GATEWAY, Cause::from("a broken backend"), ()).into_response()),
        )
        .route("/stream", get(stream))
        .route("/large", get(async || vec![b'x'; LARGE_BYTES]))
        .route("/wait", get(wait))
        .route(
            "/panic",
            get(async || -> &'static str { panic!("a fault in a handler") }),
        )
        .route("/size", post(async |body: Bytes| body.len().to_string()))
}

/// Waits until `condition` is true. `what` describes the condition.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TEST_TIMEOUT;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "timed out after {TEST_TIMEOUT:?}: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A client of one connection that sends and reads raw bytes.
pub(crate) struct RawClient<S = TcpStream>(pub(crate) S);

impl RawClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> RawClient<S> {
    pub(crate) async fn send(&mut self, bytes: &str) {
        self.try_send(bytes).await.unwrap();
    }

    /// Sends bytes. Fails if the server has closed the connection.
    pub(crate) async fn try_send(&mut self, bytes: &str) -> io::Result<()> {
        self.0.write_all(bytes.as_bytes()).await
    }

    /// Waits until the server closes its side. A client that sends meanwhile may see a reset instead.
    pub(crate) async fn closed_or_reset(&mut self) {
        match self.0.read_u8().await {
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                ) => {}
            other => panic!("expected the end of the connection: {other:?}"),
        }
    }

    /// Reads the head and the body of the next response. The body needs a `content-length`.
    pub(crate) async fn response(&mut self) -> String {
        let read = async {
            let mut head = Vec::new();
            loop {
                let byte = self
                    .0
                    .read_u8()
                    .await
                    .expect("a response before the connection closes");
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    break;
                }
            }
            let head = String::from_utf8(head).unwrap();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .unwrap_or("0");
            let mut body = vec![0; length.parse().unwrap()];
            self.0.read_exact(&mut body).await.unwrap();
            head + &String::from_utf8(body).unwrap()
        };
        timeout(TEST_TIMEOUT, read).await.expect("a response")
    }

    pub(crate) async fn get(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n"))
            .await;
        self.response().await
    }

    /// Reads everything that the server sends until it closes its side.
    pub(crate) async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        timeout(TEST_TIMEOUT, self.0.read_to_end(&mut bytes))
            .await
            .expect("the server closes the connection")
            .unwrap();
        bytes
    }

    /// Waits until the server closes its side, and returns the time. Fails if the server sends another byte.
    pub(crate) async fn closed(&mut self) -> Duration {
        let started = Instant::now();
        let mut rest = Vec::new();
        let read = timeout(TEST_TIMEOUT, self.0.read_to_end(&mut rest))
            .await
            .expect("the server closes the connection");
        assert!(
            read.is_ok_and(|bytes| bytes == 0),
            "unexpected bytes: {:?}",
            String::from_utf8_lossy(&rest)
        );
        started.elapsed()
    }
}
