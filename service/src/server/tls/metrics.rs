//! The metrics of TLS.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use time::OffsetDateTime;
use tokio_rustls::rustls::ProtocolVersion;

use crate::metrics::register;

/// The label `version` of each accepted version.
const VERSIONS: [(ProtocolVersion, &str); 2] = [
    (ProtocolVersion::TLSv1_2, "1.2"),
    (ProtocolVersion::TLSv1_3, "1.3"),
];

/// The metrics of TLS. Clones share their values.
#[derive(Debug, Clone)]
#[expect(clippy::struct_field_names, reason = "each field has the name of its metric")]
pub(in crate::server) struct TlsMetrics {
    /// TLS handshakes that completed, by version
    tls_handshakes_completed_total: IntCounterVec,
    /// End of the validity of the first certificate of the chain in use to expire, in seconds since 1970
    tls_certificate_expiration_timestamp_seconds: IntGauge,
    /// 1 if the certificate in use is that of the files, 0 if their last version could not be used
    pub(super) tls_certificate_last_reload_successful: IntGauge,
}

impl TlsMetrics {
    /// Registers the metrics. The counter of each version starts at 0.
    pub(in crate::server) fn new(registry: &Registry) -> Self {
        let completed = Opts::new(
            "tls_handshakes_completed_total",
            "TLS handshakes that completed, by version",
        );
        let expiration = IntGauge::new(
            "tls_certificate_expiration_timestamp_seconds",
            "End of the validity of the first certificate of the chain in use to expire, in seconds since 1970",
        );
        let reload = IntGauge::new(
            "tls_certificate_last_reload_successful",
            "1 if the certificate in use is that of the files, 0 if their last version could not be used",
        );
        let metrics = Self {
            tls_handshakes_completed_total: register(registry, IntCounterVec::new(completed, &["version"])),
            tls_certificate_expiration_timestamp_seconds: register(registry, expiration),
            tls_certificate_last_reload_successful: register(registry, reload),
        };
        for (_, label) in VERSIONS {
            metrics.tls_handshakes_completed_total.with_label_values(&[label]);
        }
        metrics
    }

    /// Counts a completed handshake.
    pub(super) fn completed(&self, version: Option<ProtocolVersion>) {
        for (_, label) in VERSIONS.iter().filter(|(accepted, _)| Some(*accepted) == version) {
            self.tls_handshakes_completed_total
                .with_label_values(&[label])
                .inc();
        }
    }

    /// Exports the end of the validity of the certificate that is now in use.
    pub(super) fn in_use_until(&self, end: OffsetDateTime) {
        self.tls_certificate_expiration_timestamp_seconds
            .set(end.unix_timestamp());
    }
}
