//! The admin listener of a process: beside the public listeners of a [`Server`](super::Server), or alone.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin;
use crate::readiness::Readiness;

use super::accept::Acceptor;
use super::clock::Limits;
use super::listener::Listener;
use super::stage::Stage;

/// The limits of a process without public listeners: the defaults of the services.
const LIMITS: Limits = Limits {
    header_read_timeout: Duration::from_secs(10),
    keep_alive_timeout: Duration::from_secs(75),
    max_age: None,
};

/// A bound admin listener, which serves `/metrics`, `/livez`, `/readyz` and `/log-level` until it is dropped.
#[derive(Debug)]
pub struct AdminListener {
    address: SocketAddr,
    readiness: Readiness,
    task: JoinHandle<()>,
}

impl AdminListener {
    /// Binds the address, and starts to respond. For a process without public listeners: it advances the readiness itself.
    ///
    /// # Errors
    /// When the address cannot be bound. The message names the address and the variable to change.
    pub fn bind(address: SocketAddr, registry: Registry) -> Result<Self> {
        let listener = Self::with_limits(address, registry, LIMITS)?;
        tracing::info!(admin.address = %listener.address, "listening");
        Ok(listener)
    }

    /// As [`AdminListener::bind`], with the limits of the public listeners, and without an event.
    pub(super) fn with_limits(address: SocketAddr, registry: Registry, limits: Limits) -> Result<Self> {
        let listener = Listener::bind(address, "ADMIN_LISTEN", None)?;
        let address = listener.address()?;
        // Scrapes use few connections, which need no maximum age.
        let limits = Limits {
            max_age: None,
            ..limits
        };
        let (_, stage) = watch::channel(Stage::Serving);
        let readiness = Readiness::default();
        let routes = admin::router(registry, readiness.clone());
        let service = move |peer| admin::for_peer(&routes, peer);
        let acceptor = Acceptor::new(listener, None, service, limits, stage, None);
        let task = tokio::spawn(async move {
            acceptor.serve().await;
        });
        Ok(Self {
            address,
            readiness,
            task,
        })
    }

    /// The bound address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The readiness that `/readyz` reports.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// Waits until the listener stops, which only a panic causes.
    ///
    /// # Errors
    /// The panic.
    pub async fn stopped(&mut self) -> Result<()> {
        (&mut self.task).await.context("the admin listener stopped")
    }
}

impl Drop for AdminListener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
