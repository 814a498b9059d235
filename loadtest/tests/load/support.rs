//! A real HTTP server on loopback, on a thread of its own, so that it can stall without the generator noticing.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver},
    },
    thread,
    time::{Duration, Instant},
};

use axum::Router;
use bytes::Bytes;
use loadtest::{
    load::{
        Addresses, Expectations, Load, LoadReport, Mix, Network, Plan, Protocol, Schedule, Target, probe,
    },
    units::Rate,
};
use rcgen::CertifiedKey;
use rustix::process::{Pid, Signal, kill_process};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::ring, pki_types::PrivateKeyDer},
    server::TlsStream,
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

fn serve_by<F: Future<Output = std::io::Result<()>>>(
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

/// Runs the program to its end.
pub(crate) fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments)
        .output()
        .unwrap()
}

/// The listener of a server that speaks TLS.
struct TlsListener {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves `router` by TLS, with a certificate for `name` that vouches for itself, and says which.
pub(crate) fn serve_tls(router: Router, name: &str) -> (SocketAddr, String) {
    serve_tls_speaking(router, name, &[b"h2", b"http/1.1"])
}

/// The same for a server that does not speak HTTP/2.
pub(crate) fn serve_tls_http1(name: &str) -> SocketAddr {
    serve_tls_speaking(Router::new(), name, &[]).0
}

fn serve_tls_speaking(router: Router, name: &str, protocols: &[&[u8]]) -> (SocketAddr, String) {
    let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let address = serve_by(move |listener| {
        axum::serve(TlsListener { listener, acceptor }, router.into_make_service()).into_future()
    });
    (address, cert.pem())
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
        schedule: Schedule::new(Rate::per_second(rate), duration),
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

/// An address on loopback where nothing listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends a signal to a process of this test.
pub(crate) fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Lets time pass in which something is stopped.
#[expect(clippy::disallowed_methods, reason = "the time of the stop is what is tested")]
pub(crate) fn stop(length: Duration) {
    thread::sleep(length);
}

/// What a child process says, line by line, to wait for with a deadline.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    pub(crate) fn wait_for(&mut self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut seen = Vec::new();
        loop {
            match self
                .0
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no line with {text:?} ({error}); there were {seen:#?}"),
            }
        }
    }
}
