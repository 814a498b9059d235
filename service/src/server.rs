//! The server: the public listeners, the admin listener, and the order of the shutdown.

mod accept;
mod activity;
mod admin_listener;
mod clock;
mod connection;
mod connection_metrics;
mod ending;
mod http_service;
mod io;
mod listener;
mod signals;
mod stage;
mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use prometheus::Registry;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::config::{ServiceConfig, TlsConfig};
use crate::readiness::{Readiness, State};
use accept::{Acceptor, Bounds};
use clock::Limits;
use connection_metrics::ConnectionMetrics;
use listener::Listener;
use stage::Stage;
use tls::{Certificate, TlsMetrics};

pub use admin_listener::AdminListener;
pub use http_service::HttpService;
pub use signals::Signals;

/// A server with its listeners bound. The admin listener already responds.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    tls_listener: Option<Listener>,
    /// Keeps the certificate current until the server is dropped.
    certificate: JoinSet<()>,
    admin: AdminListener,
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
    /// Binds the public and the admin listener, and starts to respond to probes. `/readyz` responds 503 until [`Server::run`].
    ///
    /// # Errors
    /// When an address cannot be bound. The message names the address and the variable to change.
    pub fn bind(config: &ServiceConfig, registry: Registry) -> Result<Self> {
        let listener = Listener::bind(config.listen, "LISTEN", None)?;
        let limits = Limits {
            header_read_timeout: config.header_read_timeout,
            keep_alive_timeout: config.keep_alive_timeout,
            max_age: Some(config.max_connection_age),
        };
        let connection_metrics = ConnectionMetrics::new(&registry);
        let admin = AdminListener::with_limits(config.admin_listen, registry, limits)?;
        let readiness = admin.readiness();
        let max_connections = config.max_connections();
        let bounds = Bounds {
            permits: Arc::new(Semaphore::new(max_connections)),
            metrics: connection_metrics,
        };
        tracing::info!(
            server.address = %listener.address()?,
            server.max_connections = max_connections,
            admin.address = %admin.address(),
            "listening"
        );
        let (drain_delay, drain_deadline) = (config.drain_delay, config.drain_deadline);
        Ok(Self {
            listener,
            tls_listener: None,
            certificate: JoinSet::new(),
            admin,
            readiness,
            limits,
            bounds,
            drain_delay,
            drain_deadline,
        })
    }

    /// Adds a public listener with TLS, if the settings name its address. It shares the bounds and the metrics of the other
    /// public listener. Changes of the certificate apply to new connections.
    ///
    /// # Errors
    /// When the certificate cannot be loaded, or the address cannot be bound. The message says what to do.
    pub async fn with_tls(mut self, config: &TlsConfig, registry: &Registry) -> Result<Self> {
        let Some(address) = config.listen else {
            return Ok(self);
        };
        let certificate = Certificate::load(config, TlsMetrics::new(registry)).await?;
        let listener = Listener::bind(address, "TLS_LISTEN", Some(certificate.terminator()))?;
        tracing::info!(tls.address = %listener.address()?, "listening with TLS");
        self.tls_listener = Some(listener);
        self.certificate.spawn(certificate.follow_files());
        Ok(self)
    }

    /// The bound address of the public listener without TLS.
    ///
    /// # Errors
    /// When the kernel cannot report the address.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(self.listener.address()?)
    }

    /// The bound address of the public listener with TLS, if there is one.
    ///
    /// # Errors
    /// When the kernel cannot report the address.
    pub fn tls_address(&self) -> Result<Option<SocketAddr>> {
        let address = self.tls_listener.as_ref().map(Listener::address);
        Ok(address.transpose()?)
    }

    /// The bound address of the admin listener.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin.address()
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
    /// [`DeadlineMissed`] when requests were still in flight at the deadline. Any error when a listener or the
    /// reload of the certificate stopped because of a panic.
    pub async fn run(mut self, service: impl HttpService, shutdown: impl Future<Output = ()>) -> Result<()> {
        let (stage, watched) = watch::channel(Stage::Serving);
        let service = move |_peer| service.clone();
        let acceptor = Acceptor::new(
            self.listener,
            self.tls_listener,
            service,
            self.limits,
            watched,
            Some(self.bounds),
        );
        let mut acceptor = tokio::spawn(acceptor.serve());
        self.readiness.advance(State::Ready);
        tracing::info!("ready");

        tokio::select! {
            () = shutdown => {}
            stopped = &mut acceptor => {
                stopped.context("the public listener stopped")?;
            }
            stopped = self.admin.stopped() => stopped?,
            Some(stopped) = self.certificate.join_next() => {
                stopped.context("the reload of the certificate stopped")?;
            }
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
        drop(self.admin);
        if connections > 0 {
            return Err(DeadlineMissed { connections }.into());
        }
        tracing::info!("stopped: every request in flight completed");
        Ok(())
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Flags {
        #[command(flatten)]
        service: ServiceConfig,
    }

    #[tokio::test]
    async fn a_panic_in_the_reload_of_the_certificate_stops_the_server() {
        let flags = [
            "test",
            "--listen=127.0.0.1:0",
            "--admin-listen=127.0.0.1:0",
            "--drain-delay=0s",
        ];
        let config = Flags::parse_from(flags).service;
        let mut server = Server::bind(&config, Registry::new()).unwrap();
        server.certificate.spawn(async { panic!("a fault of the test") });
        let run = server.run(Router::new(), std::future::pending());
        let outcome = tokio::time::timeout(Duration::from_secs(20), run).await;
        let error = outcome.expect("the server stops").unwrap_err();
        assert_eq!(error.to_string(), "the reload of the certificate stopped");
    }
}
