//! Real HTTP servers on loopback. Each has its own thread, so that a stalled server does not stall the generator.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::Router;
use bytes::Bytes;
use engine::{
    Addresses, Expectations, Load, LoadReport, Mix, Network, Plan, Protocol, Schedule, Target, probe,
    units::Rate,
};

/// Stalls server threads and records the stalls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls(Arc<Mutex<Vec<Duration>>>);

impl Stalls {
    /// Blocks the calling server thread and records the real duration.
    pub(crate) fn stall(&self, length: Duration) {
        let started = Instant::now();
        #[expect(
            clippy::disallowed_methods,
            reason = "the test needs a stall of the whole thread"
        )]
        thread::sleep(length);
        self.0.lock().unwrap().push(started.elapsed());
    }

    /// Returns the lengths of the stalls so far.
    pub(crate) fn lengths(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves `router` on one thread until the test process exits.
pub(crate) fn serve(router: Router) -> SocketAddr {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    serve_with(move |listener| axum::serve(listener, service).into_future())
}

/// Runs a server on one thread until the test process exits.
pub(crate) fn serve_with<F: Future<Output = std::io::Result<()>>>(
    server: impl FnOnce(tokio::net::TcpListener) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            server(listener).await.unwrap();
        });
    });
    address
}

/// A counter that the server and the test share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Increments the counter and returns the previous value.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Returns the current value.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Returns a plan for one URL.
pub(crate) fn plan(url: &str, rate: u32, duration: Duration) -> Plan {
    Plan {
        schedule: Schedule::constant(Rate::per_second(rate), duration),
        warm_up: Duration::ZERO,
        mix: Mix::new(
            vec![Target::new(http::Method::GET, url).unwrap()],
            &[],
            &Bytes::new(),
            Protocol::Http1,
        )
        .unwrap(),
        network: Network::default(),
        expectations: Expectations::default(),
        timeout: Duration::from_secs(10),
        connections: 100,
        max_in_flight: 10_000,
        max_connection_age: Some(Duration::from_secs(3)),
        max_idle: Duration::from_secs(2),
        slowest: 10,
        threads: None,
    }
}

/// Runs a plan until the load is drained, and returns the report.
pub(crate) fn run_load(plan: Plan) -> LoadReport {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let addresses: Addresses = probe(&plan.mix, &plan.network, Duration::from_secs(5))
            .await
            .unwrap();
        let mut load = Load::start(plan, &addresses).unwrap();
        load.drained().await.unwrap();
        load.report()
    })
}

/// Accepts `connections` connections, runs `handle` on its own thread for each of them, and then stops listening.
fn serve_raw(connections: usize, handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    address
}

/// Reads up to the end of the headers of a request. Returns whether there was a complete one.
fn read_request(stream: &mut TcpStream) -> bool {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        read.push(byte[0]);
    }
    true
}

fn respond(stream: &mut TcpStream) {
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nHello there"));
}

/// Responds to one request on each of `connections` connections, and then closes the port.
pub(crate) fn respond_once_on_connections(connections: usize) -> SocketAddr {
    serve_raw(connections, |mut stream| {
        if read_request(&mut stream) {
            respond(&mut stream);
        }
    })
}

/// Responds to the first request of each connection with `bytes`, and closes the connection.
pub(crate) fn respond_with(bytes: &'static [u8]) -> SocketAddr {
    serve_raw(usize::MAX, move |mut stream| {
        if read_request(&mut stream) {
            drop(stream.write_all(bytes));
        }
    })
}

/// Responds to the first request of each connection and closes the connection, without a `connection: close` header.
pub(crate) fn respond_once_and_close() -> SocketAddr {
    respond_once_on_connections(usize::MAX)
}

/// Responds to the first request of each connection, reads the second, and closes the connection.
///
/// Counts the requests that it read.
pub(crate) fn respond_to_every_other_request() -> (SocketAddr, Counter) {
    let received = Counter::default();
    let counter = received.clone();
    let address = serve_raw(usize::MAX, move |mut stream| {
        for number in 0..2 {
            if !read_request(&mut stream) {
                return;
            }
            counter.next();
            if number == 0 {
                respond(&mut stream);
            }
        }
    });
    (address, received)
}
