//! A real HTTP server on loopback, on a thread of its own, so that it can stall without the generator noticing.

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

/// What a server thread blocks on while it stalls.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stalls(Arc<Mutex<Vec<Duration>>>);

impl Stalls {
    /// Blocks the calling server thread, and notes for how long it really was.
    pub(crate) fn stall(&self, length: Duration) {
        let started = Instant::now();
        #[expect(
            clippy::disallowed_methods,
            reason = "the stall of the whole thread is what is tested"
        )]
        thread::sleep(length);
        self.0.lock().unwrap().push(started.elapsed());
    }

    /// The stalls so far.
    pub(crate) fn lengths(&self) -> Vec<Duration> {
        self.0.lock().unwrap().clone()
    }
}

/// Serves `router` on one thread until the test process ends.
pub(crate) fn serve(router: Router) -> SocketAddr {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    serve_by(move |listener| axum::serve(listener, service).into_future())
}

/// Runs a server on one thread until the test process ends.
pub(crate) fn serve_by<F: Future<Output = std::io::Result<()>>>(
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

/// A number that server and test share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one and says how many there were before.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// The number now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A plan with the command's defaults.
pub(crate) fn plan(url: &str, rate: u32, duration: Duration) -> Plan {
    Plan {
        schedule: Schedule::constant(Rate::per_second(rate), duration),
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
        threads: None,
    }
}

/// Runs a plan to its end.
pub(crate) fn drive(plan: Plan) -> LoadReport {
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

/// Accepts at most `connections` connections, hands each to `talk` on a thread of its own, and then stops listening.
fn raw(connections: usize, talk: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let talk = talk.clone();
            thread::spawn(move || talk(stream));
        }
    });
    address
}

/// Reads up to the end of a request's headers. Says whether there was one.
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

fn answer(stream: &mut TcpStream) {
    drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nHello there"));
}

/// Answers one request on each of `connections` connections; after that, nothing listens any more.
pub(crate) fn serve_for(connections: usize) -> SocketAddr {
    raw(connections, |mut stream| {
        if read_request(&mut stream) {
            answer(&mut stream);
        }
    })
}

/// Says `text` in answer to the first request of each connection, and closes.
pub(crate) fn speak(text: &'static [u8]) -> SocketAddr {
    raw(usize::MAX, move |mut stream| {
        if read_request(&mut stream) {
            drop(stream.write_all(text));
        }
    })
}

/// Answers the first request of each connection as if more could follow, and closes.
pub(crate) fn answer_once_and_close() -> SocketAddr {
    serve_for(usize::MAX)
}

/// Answers the first request of each connection, reads a second, and closes. Counts what it has read.
pub(crate) fn answer_every_other() -> (SocketAddr, Counter) {
    let received = Counter::default();
    let counter = received.clone();
    let address = raw(usize::MAX, move |mut stream| {
        for turn in 0..2 {
            if !read_request(&mut stream) {
                return;
            }
            counter.next();
            if turn == 0 {
                answer(&mut stream);
            }
        }
    });
    (address, received)
}
