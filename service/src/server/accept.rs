//! The accept loop. It outlives errors, and hands over its connections when it stops.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::HttpService;
use super::Stage;
use super::connection::{self, Limits};

/// Pause after an error that the next accept would meet again, such as no free file descriptor.
const PAUSE: Duration = Duration::from_millis(50);

/// Such an error lasts, and one line a second says it as well as twenty.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// Largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// How often an HTTP/2 connection is asked whether its peer is still there.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Accepts on one listener and serves one service.
pub(super) struct Acceptor<S> {
    listener: TcpListener,
    /// The same socket, for the last look at its backlog.
    backlog: std::net::TcpListener,
    service: S,
    limits: Limits,
    stage: watch::Receiver<Stage>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    connections: JoinSet<()>,
    warned: Option<Instant>,
}

/// The connections that were open when accepting stopped.
pub(super) struct Connections(JoinSet<()>);

impl<S: HttpService> Acceptor<S> {
    pub(super) fn new(
        listener: TcpListener,
        service: S,
        limits: Limits,
        stage: watch::Receiver<Stage>,
    ) -> io::Result<Self> {
        let listener = listener.into_std()?;
        let backlog = listener.try_clone()?;
        let listener = TcpListener::from_std(listener)?;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // The connection's own driver bounds the time for a head: hyper's timer would run between requests, too, and
        // would close connections that a load balancer still uses.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES)
            // Head and body are a few hundred bytes, but for a scrape: copying them together costs less than having the
            // kernel do it.
            .writev(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .keep_alive_interval(Some(PING_INTERVAL));
        let (builder, connections) = (Arc::new(builder), JoinSet::new());
        Ok(Self {
            listener,
            backlog,
            service,
            limits,
            stage,
            builder,
            connections,
            warned: None,
        })
    }

    /// Accepts until draining begins.
    pub(super) async fn serve(mut self) -> Connections {
        let mut stage = self.stage.clone();
        let draining = async move {
            if stage.wait_for(|stage| *stage == Stage::Draining).await.is_err() {
                // Nobody can announce the end any more: this listener lives as long as the process.
                std::future::pending::<()>().await;
            }
        };
        let mut draining = std::pin::pin!(draining);
        loop {
            tokio::select! {
                biased;
                () = &mut draining => return self.stop(),
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.spawn(stream),
                    Err(error) => self.pause(&error).await,
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Stops accepting, but first takes what the kernel has already accepted: those clients would be reset.
    fn stop(mut self) -> Connections {
        // Asking the socket itself: the runtime may not have heard yet that a connection is waiting.
        while let Ok((stream, _)) = self.backlog.accept() {
            if let Ok(stream) = stream
                .set_nonblocking(true)
                .and_then(|()| TcpStream::from_std(stream))
            {
                self.spawn(stream);
            }
        }
        Connections(self.connections)
    }

    fn spawn(&mut self, stream: TcpStream) {
        // Answers are small and whole: waiting for more to send would only delay them.
        stream.set_nodelay(true).ok();
        let (builder, service, stage) = (
            Arc::clone(&self.builder),
            self.service.clone(),
            self.stage.clone(),
        );
        self.connections
            .spawn(connection::drive(builder, stream, service, self.limits, stage));
    }

    /// A client that is gone before it was accepted is no reason to wait, anything else is: without a pause, the loop
    /// would spin for as long as the process has no free file descriptor.
    async fn pause(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset
        ) {
            return;
        }
        if self
            .warned
            .is_none_or(|warned| warned.elapsed() >= WARNING_INTERVAL)
        {
            tracing::warn!(%error, "cannot accept connections");
            self.warned = Some(Instant::now());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

impl Connections {
    /// Waits for them to end; at the deadline, cuts those that are left and says how many.
    pub(super) async fn finish(mut self, deadline: Instant) -> usize {
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, self.0.join_next()).await {}
        let left = self.0.len();
        self.0.shutdown().await;
        left
    }
}
