//! The server: the public and the admin listener, and the order of the shutdown.

mod accept;
mod activity;
mod clock;
mod connection;
mod connection_metrics;
mod ending;
mod http_service;
mod io;
mod signals;
mod stage;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use prometheus::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::admin;
use crate::config::ServiceConfig;
use crate::readiness::{Readiness, State};
use accept::{Acceptor, Bounds};
use clock::Limits;
use connection_metrics::ConnectionMetrics;
use stage::Stage;

pub use http_service::HttpService;
pub use signals::Signals;

/// A server with both listeners bound. The admin listener already responds.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    admin_address: SocketAddr,
    admin: JoinHandle<()>,
    readiness: Readiness,
    limits: Limits,
    bounds: Bounds,
    drain_delay: Duration,
    drain_deadline: Duration,
}

/// Requests were still in flight at the drain deadline and were aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadlineMissed {
    /// The number of aborted connections.
    pub connections: usize,
}

impl std::fmt::Display for DeadlineMissed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "aborted {} connections with a request in flight at the drain deadline",
            self.connections
        )
    }
}

impl std::error::Error for DeadlineMissed {}

impl Server {
    /// Binds both listeners and starts to respond to probes. `/readyz` responds 503 until [`Server::run`].
    ///
    /// # Errors
    /// When an address cannot be bound. The message names the address and the variable to change.
    pub fn bind(config: &ServiceConfig, registry: Registry) -> Result<Self> {
        let listener = bind(config.listen, "LISTEN")?;
        let admin_listener = bind(config.admin_listen, "ADMIN_LISTEN")?;
        let admin_address = admin_listener.local_addr()?;
        let connection_metrics = ConnectionMetrics::new(&registry);
        let readiness = Readiness::default();
        let limits = Limits {
            header_read_timeout: config.header_read_timeout,
            keep_alive_timeout: config.keep_alive_timeout,
            max_age: Some(config.max_connection_age),
        };
        // Scrapes use few connections, which need no maximum age.
        let admin_limits = Limits {
            max_age: None,
            ..limits
        };
        let (_, stage) = watch::channel(Stage::Serving);
        let routes = admin::router(registry, readiness.clone());
        let admin = Acceptor::new(
            admin_listener,
            move |peer| admin::for_peer(&routes, peer),
            admin_limits,
            stage,
            None,
        )?;
        let admin = tokio::spawn(async move {
            admin.serve().await;
        });
        let max_connections = config.max_connections();
        let bounds = Bounds {
            permits: Arc::new(Semaphore::new(max_connections)),
            metrics: connection_metrics,
        };
        tracing::info!(
            server.address = %listener.local_addr()?,
            server.max_connections = max_connections,
            admin.address = %admin_address,
            "listening"
        );
        let (drain_delay, drain_deadline) = (config.drain_delay, config.drain_deadline);
        Ok(Self {
            listener,
            admin_address,
            admin,
            readiness,
            limits,
            bounds,
            drain_delay,
            drain_deadline,
        })
    }

    /// The bound address of the public listener.
    ///
    /// # Errors
    /// When the kernel cannot report the address.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// The bound address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// The readiness of the process, to report a fault of something that it needs.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Serves requests until a signal, and then shuts down as [`Server::run`] does.
    ///
    /// # Errors
    /// Those of [`Server::run`]. A second signal stops the shutdown at once, which is an error, too.
    pub async fn run_until_signal(self, service: impl HttpService, mut signals: Signals) -> Result<()> {
        let (shut_down, requested) = oneshot::channel::<()>();
        let run = self.run(service, async {
            requested.await.ok();
        });
        let mut run = std::pin::pin!(run);
        tokio::select! {
            outcome = &mut run => return outcome,
            () = signals.received() => drop(shut_down),
        }
        tokio::select! {
            outcome = run => outcome,
            () = signals.received() => bail!("a second signal stopped the shutdown: requests in flight were aborted"),
        }
    }

    /// Serves requests until `shutdown` completes, and then shuts down in this order:
    ///
    /// 1. `/readyz` responds 503 at once.
    /// 2. The server accepts connections for the drain delay, while the cluster removes the endpoint of this pod.
    /// 3. The server stops accepting, and completes the requests in flight until the drain deadline.
    /// 4. The admin listener closes last.
    ///
    /// # Errors
    /// [`DeadlineMissed`] when requests were still in flight at the deadline. Any error when a listener stopped because
    /// of a panic.
    pub async fn run(mut self, service: impl HttpService, shutdown: impl Future<Output = ()>) -> Result<()> {
        let (stage, watched) = watch::channel(Stage::Serving);
        let service = move |_peer| service.clone();
        let acceptor = Acceptor::new(self.listener, service, self.limits, watched, Some(self.bounds))?;
        let mut acceptor = tokio::spawn(acceptor.serve());
        self.readiness.advance(State::Ready);
        tracing::info!("ready");

        tokio::select! {
            () = shutdown => {}
            stopped = &mut acceptor => {
                stopped.context("the public listener stopped")?;
            }
            stopped = &mut self.admin => stopped.context("the admin listener stopped")?,
        }
        self.readiness.advance(State::ShuttingDown);
        stage.send_replace(Stage::DrainDelay);
        tracing::info!(
            drain.delay_ms = milliseconds(self.drain_delay),
            "drain delay started: /readyz responds 503"
        );
        tokio::time::sleep(self.drain_delay).await;

        stage.send_replace(Stage::Draining);
        let deadline = Instant::now() + self.drain_deadline;
        let connections = acceptor.await.context("the public listener stopped")?;
        let connections = connections.finish(deadline, &stage).await;
        self.admin.abort();
        if connections > 0 {
            return Err(DeadlineMissed { connections }.into());
        }
        tracing::info!("stopped: every request in flight completed");
        Ok(())
    }
}

/// The clients that may wait until the server accepts their connection. The kernel limits it to `net.core.somaxconn`. The
/// default of the runtime is 128, and further clients of a burst would wait for 1 s and more.
const BACKLOG: u32 = 4096;

fn bind(address: SocketAddr, variable: &str) -> Result<TcpListener> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restart must not wait for connections of the previous process in the state TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| {
        format!("cannot listen on {address}: set {variable} to a free address of this machine")
    })
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
