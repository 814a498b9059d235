//! Tests of the binary: shutdown under load, health check, and exhausted file descriptors.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use reqwest::Client;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::Instant;
use wiring::exposition;

use super::process::{Service, TEST_TIMEOUT, printed};
use super::support::until;

const APP_A: &str = env!("CARGO_BIN_EXE_app_a");

/// Clients that send requests over keep-alive connections, until the test stops them or the server refuses connections.
struct Load {
    tasks: Vec<tokio::task::JoinHandle<Result<(), reqwest::Error>>>,
    stop: Arc<AtomicBool>,
    responses: Arc<AtomicUsize>,
}

impl Load {
    fn start(url: &str) -> Self {
        let (stop, responses) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = (0..8).map(|_| {
            tokio::spawn(send_requests(
                url.to_owned(),
                Arc::clone(&stop),
                Arc::clone(&responses),
            ))
        });
        Self {
            tasks: tasks.collect(),
            stop: Arc::clone(&stop),
            responses,
        }
    }

    fn responses(&self) -> usize {
        self.responses.load(Ordering::Relaxed)
    }

    /// Stops the clients and returns the errors of failed requests.
    async fn finish(self) -> Vec<reqwest::Error> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failed = Vec::new();
        for task in self.tasks {
            failed.extend(task.await.unwrap().err());
        }
        failed
    }
}

async fn send_requests(
    url: String,
    stop: Arc<AtomicBool>,
    responses: Arc<AtomicUsize>,
) -> Result<(), reqwest::Error> {
    // Each client has its own pool and does not retry, because a retry would hide a lost request.
    let client = Client::builder().retry(reqwest::retry::never()).build()?;
    while !stop.load(Ordering::Relaxed) {
        let response = match client.get(&url).send().await {
            Err(error) if error.is_connect() => return Ok(()),
            response => response?.error_for_status()?,
        };
        response.bytes().await?;
        responses.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_no_request() {
    let drain_delay = Duration::from_secs(5);
    let service = Service::start(APP_A, &[("DRAIN_DELAY", "5s")]).ready().await;
    let load = Load::start(&service.url("/hello"));
    until("200 responses", || load.responses() > 200).await;
    assert_eq!(service.readyz().await, Some(200));

    let signalled = Instant::now();
    service.signal(Signal::TERM);
    while service.readyz().await == Some(200) {
        assert!(signalled.elapsed() < TEST_TIMEOUT, "/readyz still responds 200");
    }
    assert_eq!(service.readyz().await, Some(503));
    // Further responses show that readiness failed before the server stopped accepting.
    let before = load.responses();
    until("responses during the drain delay", || {
        load.responses() > before + 100
    })
    .await;
    let public = service.address;
    while TcpStream::connect(public).await.is_ok() {
        assert!(signalled.elapsed() < TEST_TIMEOUT, "still accepting connections");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(
        signalled.elapsed() >= drain_delay,
        "stopped accepting before the end of the drain delay: {:?}",
        signalled.elapsed()
    );

    let output = service.output().await;
    let failed = load.finish().await;
    assert!(
        failed.is_empty(),
        "{} requests were lost: {failed:?}",
        failed.len()
    );
    assert_eq!(output.status.code(), Some(0), "{}", printed(&output));
}

#[tokio::test]
async fn a_second_signal_stops_at_once() {
    let service = Service::start(APP_A, &[("DRAIN_DELAY", "1h")]).ready().await;
    service.signal(Signal::TERM);
    while service.readyz().await == Some(200) {}
    service.signal(Signal::TERM);
    let output = service.output().await;
    assert_eq!(output.status.code(), Some(1), "{}", printed(&output));
    assert!(
        printed(&output).contains("a second signal"),
        "{}",
        printed(&output)
    );
}

#[tokio::test]
async fn sigint_exits_0() {
    let service = Service::start(APP_A, &[("DRAIN_DELAY", "0s")]).ready().await;
    service.signal(Signal::INT);
    assert_eq!(service.output().await.status.code(), Some(0));
}

#[tokio::test]
async fn the_health_check_requests_readyz() {
    let service = Service::start(APP_A, &[("DRAIN_DELAY", "30s")]).ready().await;
    let check = async || {
        let mut command = Command::new(APP_A);
        command
            .env_clear()
            .env("ADMIN_LISTEN", service.admin.to_string())
            .arg("healthcheck");
        command.output().await.unwrap()
    };
    assert_eq!(check().await.status.code(), Some(0));
    service.signal(Signal::TERM);
    let deadline = Instant::now() + TEST_TIMEOUT;
    while check().await.status.success() {
        assert!(Instant::now() < deadline, "the health check still succeeds");
    }
    let failed = check().await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(printed(&failed).contains("503"), "{}", printed(&failed));
}

#[tokio::test]
async fn without_free_file_descriptors_it_neither_exits_nor_spins() {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n 40 && exec {APP_A}")]);
    let service = Service::start_with(command, &[("HEADER_READ_TIMEOUT", "1s")])
        .ready()
        .await;
    let mut held = Vec::new();
    for _ in 0..60 {
        held.push(TcpStream::connect(service.address).await.unwrap());
    }
    let before = cpu_ticks(&service);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let used = cpu_ticks(&service) - before;
    assert!(
        used <= 20,
        "used {used} of about 50 ticks while it could not accept"
    );
    drop(held);
    let response = tokio::time::timeout(TEST_TIMEOUT, reqwest::get(service.url("/hello")))
        .await
        .expect("a response");
    assert_eq!(
        response.unwrap().status(),
        200,
        "after descriptors are free again"
    );
}

/// Requests `/livez` 20 times. Expects each response within the timeout of a usual probe.
async fn expect_probes_succeed(service: &Service) {
    const PROBE_TIMEOUT: Duration = Duration::from_secs(3);
    for _ in 0..20 {
        let probe = reqwest::get(service.admin_url("/livez"));
        let response = tokio::time::timeout(PROBE_TIMEOUT, probe).await;
        assert_eq!(response.expect("a response in time").unwrap().status(), 200);
    }
}

#[tokio::test]
async fn probes_succeed_while_connections_use_all_files_that_they_may_use() {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("ulimit -n 64 && exec {APP_A}")]);
    let service = Service::start_with(command, &[]).ready().await;
    let mut silent = Vec::new();
    for _ in 0..80 {
        silent.push(TcpStream::connect(service.address).await.unwrap());
    }
    expect_probes_succeed(&service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_succeed_beside_10_000_idle_connections_and_a_flood_of_slow_heads() {
    const IDLE: usize = 10_000;
    const SLOW: usize = 1_000;
    // The service inherits the limit. Only root may raise the hard limit.
    let files = getrlimit(Resource::Nofile).maximum.map(|files| files.max(20_000));
    let raised = Rlimit {
        current: files,
        maximum: files,
    };
    setrlimit(Resource::Nofile, raised).expect("the test needs 20,000 open files (ulimit -n)");
    let service = Service::start(APP_A, &[]).ready().await;
    let connect = async |index| {
        let mut client = TcpStream::connect(service.address).await.unwrap();
        let request = "GET /hello HTTP/1.1\r\nhost: test\r\n\r\n";
        // A slow client sends only a part of its head.
        let sent = if index < IDLE { request } else { &request[..20] };
        client.write_all(sent.as_bytes()).await.unwrap();
        client
    };
    let clients = stream::iter((0..IDLE + SLOW).map(connect)).buffer_unordered(100);
    let clients = tokio::time::timeout(TEST_TIMEOUT, clients.collect::<Vec<_>>()).await;
    let _clients = clients.expect("the server accepts connections");
    let open = async || {
        let text = service.metrics().await;
        let memory = exposition::value(&text, "process_resident_memory_bytes").unwrap();
        (exposition::value(&text, "http_connections_open").unwrap(), memory)
    };
    let deadline = Instant::now() + TEST_TIMEOUT;
    loop {
        let (connections, memory) = open().await;
        if connections >= 11_000.0 {
            println!("{} bytes for each connection", memory / connections);
            break;
        }
        assert!(Instant::now() < deadline, "{connections} open connections");
    }
    expect_probes_succeed(&service).await;
}

/// Returns user and system time of the process, in ticks of usually 10 ms (fields 14 and 15 of `proc_pid_stat(5)`).
fn cpu_ticks(service: &Service) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.id())).unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
