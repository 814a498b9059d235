//! TLS on a public listener: the certificate, and the streams that start with a handshake.

mod certificate;
mod metrics;
mod stream;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_rustls::rustls::ServerConfig;

pub(super) use certificate::Certificate;
pub(super) use metrics::TlsMetrics;
pub(super) use stream::TlsStream;

/// What a [`TlsStream`] needs for its handshake. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Terminator {
    /// Each handshake uses the latest configuration. Open connections keep theirs.
    config: watch::Receiver<Arc<ServerConfig>>,
    metrics: TlsMetrics,
}
