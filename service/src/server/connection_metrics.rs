//! The metrics of the connections to the public listeners.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::ending::Ending;
use crate::metrics::register;

/// The metrics of connections. Clones share their values.
#[derive(Debug, Clone)]
pub(super) struct ConnectionMetrics {
    /// Open connections to the public listeners
    http_connections_open: IntGauge,
    /// Connections to the public listeners that ended, by reason
    http_connections_closed_total: IntCounterVec,
}

impl ConnectionMetrics {
    /// Registers the metrics. The counter of each reason starts at 0.
    pub(super) fn new(registry: &Registry) -> Self {
        let open = IntGauge::new(
            "http_connections_open",
            "Open connections to the public listeners",
        );
        let closed = Opts::new(
            "http_connections_closed_total",
            "Connections to the public listeners that ended, by reason",
        );
        let metrics = Self {
            http_connections_open: register(registry, open),
            http_connections_closed_total: register(registry, IntCounterVec::new(closed, &["reason"])),
        };
        for ending in Ending::ALL {
            metrics
                .http_connections_closed_total
                .with_label_values(&[ending.label()]);
        }
        metrics
    }

    /// Counts a connection as open until [`OpenConnection::end`].
    pub(super) fn open(&self) -> OpenConnection {
        self.http_connections_open.inc();
        OpenConnection(self.clone())
    }
}

/// A connection that counts as open.
#[derive(Debug)]
pub(super) struct OpenConnection(ConnectionMetrics);

impl OpenConnection {
    pub(super) fn end(self, ending: Ending) {
        self.0
            .http_connections_closed_total
            .with_label_values(&[ending.label()])
            .inc();
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.http_connections_open.dec();
    }
}
