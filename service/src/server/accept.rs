//! The accept loop of one or two listeners. It survives errors, and returns its open connections when it stops.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::activity::Activity;
use super::clock::Limits;
use super::connection;
use super::connection_metrics::ConnectionMetrics;
use super::ending::Ending;
use super::http_service::HttpService;
use super::listener::{Accepted, Listener};
use super::stage::Stage;
use super::tls::TlsStream;

/// The pause after an error that would repeat at the next accept, such as too many open files.
const PAUSE: Duration = Duration::from_millis(50);

/// The shortest time between two warnings about such an error.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: u32 = 64 * 1024;

/// The interval of HTTP/2 pings, which detect a dead peer.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// Accepts connections and serves a service on each. `F` returns the service for the address of the client.
pub(super) struct Acceptor<F> {
    listener: Listener,
    tls_listener: Option<Listener>,
    service: F,
    limits: Limits,
    stage: watch::Receiver<Stage>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    connections: JoinSet<Ending>,
    bounds: Option<Bounds>,
    warned: Option<Instant>,
}

/// The bounds and the metrics of the connections to the public listeners.
#[derive(Debug)]
pub(super) struct Bounds {
    /// One permit for each further connection. The other clients wait in the backlogs of the listeners.
    pub(super) permits: Arc<Semaphore>,
    pub(super) metrics: ConnectionMetrics,
}

/// The open connections after accepting has stopped.
pub(super) struct Connections(JoinSet<Ending>);

impl<S: HttpService, F: Fn(SocketAddr) -> S> Acceptor<F> {
    pub(super) fn new(
        listener: Listener,
        tls_listener: Option<Listener>,
        service: F,
        limits: Limits,
        stage: watch::Receiver<Stage>,
        bounds: Option<Bounds>,
    ) -> Self {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // The clock of the connection limits the time for a head. hyper's timer would also run between requests, and
        // would close connections that a load balancer keeps for reuse.
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD_BYTES as usize)
            // Head and body are a few hundred bytes, except in a scrape: one copy costs less than a vectored write.
            .writev(false);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(MAX_HEAD_BYTES)
            .keep_alive_interval(Some(PING_INTERVAL));
        let (builder, connections) = (Arc::new(builder), JoinSet::new());
        Self {
            listener,
            tls_listener,
            service,
            limits,
            stage,
            builder,
            connections,
            bounds,
            warned: None,
        }
    }

    /// Accepts connections until draining starts.
    pub(super) async fn serve(mut self) -> Connections {
        let mut stage = self.stage.clone();
        let draining = async move {
            if stage.wait_for(|stage| *stage == Stage::Draining).await.is_err() {
                // Without a sender, this listener accepts connections as long as the process lives.
                std::future::pending::<()>().await;
            }
        };
        let mut draining = std::pin::pin!(draining);
        loop {
            tokio::select! {
                biased;
                () = &mut draining => return self.stop(),
                accepted = accept(&self.listener, self.tls_listener.as_ref(), self.bounds.as_ref()) => match accepted {
                    Ok((accepted, permit)) => self.spawn(accepted, permit),
                    Err(error) => self.pause(&error).await,
                },
                Some(_) = self.connections.join_next() => {}
            }
        }
    }

    /// Stops accepting. Serves the connections in the backlogs first, because the kernel would reset them.
    fn stop(mut self) -> Connections {
        loop {
            let tls = || self.tls_listener.as_ref()?.accept_waiting();
            match self.listener.accept_waiting().or_else(tls) {
                Some(Ok(accepted)) => self.spawn(accepted, None),
                Some(Err(_)) => {}
                None => return Connections(self.connections),
            }
        }
    }

    fn spawn(&mut self, accepted: Accepted, permit: Option<OwnedSemaphorePermit>) {
        let Accepted { stream, peer, tls } = accepted;
        match tls {
            None => self.serve_on(stream, Arc::default(), peer, permit),
            Some(tls) => {
                let activity = Arc::new(Activity::handshaking());
                let stream = TlsStream::new(stream, tls, Arc::clone(&activity));
                self.serve_on(stream, activity, peer, permit);
            }
        }
    }

    /// Serves a connection in a task of its own. The task holds the permit.
    fn serve_on(
        &mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        activity: Arc<Activity>,
        peer: SocketAddr,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let (builder, service, stage) = (
            Arc::clone(&self.builder),
            (self.service)(peer),
            self.stage.clone(),
        );
        let open = self.bounds.as_ref().map(|bounds| bounds.metrics.open());
        let connection = connection::serve(builder, stream, activity, service, self.limits, stage);
        self.connections.spawn(async move {
            let ending = connection.await;
            if let Some(open) = open {
                open.end(ending);
            }
            drop(permit);
            ending
        });
    }

    /// Pauses after an error, unless only one client was lost. Without a pause the loop would spin as long as the
    /// process has no free file descriptor.
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

/// Accepts a connection once a permit is free. Both listeners wait for the same permit, so that neither holds one while idle.
async fn accept(
    listener: &Listener,
    tls_listener: Option<&Listener>,
    bounds: Option<&Bounds>,
) -> io::Result<(Accepted, Option<OwnedSemaphorePermit>)> {
    let permit = match bounds {
        // Nothing closes the semaphore, so this is always a permit.
        Some(bounds) => Arc::clone(&bounds.permits).acquire_owned().await.ok(),
        None => None,
    };
    let accept_tls = async {
        match tls_listener {
            Some(listener) => listener.accept().await,
            None => std::future::pending().await,
        }
    };
    let accepted = tokio::select! {
        accepted = listener.accept() => accepted,
        accepted = accept_tls => accepted,
    };
    Ok((accepted?, permit))
}

impl Connections {
    /// Waits until the connections close. Closes the remaining ones at the deadline. Returns the number of connections
    /// that had a request in flight then.
    pub(super) async fn finish(mut self, deadline: Instant, stage: &watch::Sender<Stage>) -> usize {
        while let Ok(Some(_)) = tokio::time::timeout_at(deadline, self.0.join_next()).await {}
        stage.send_replace(Stage::Deadline);
        let mut aborted = 0;
        while let Some(ended) = self.0.join_next().await {
            aborted += usize::from(ended.is_ok_and(|ending| ending == Ending::Aborted));
        }
        aborted
    }
}
