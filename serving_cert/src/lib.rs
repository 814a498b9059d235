//! The serving certificate of an aggregated API server: created in its pod, trusted through its `APIService`, and renewed
//! in place.
//!
//! The program is a sidecar of the server, which is prometheus-adapter here. At start it creates a certificate authority and
//! one serving certificate in memory, and discards the key of the authority. It publishes the authority in the `caBundle` of
//! the `APIService`, and only then writes `tls.crt` and `tls.key` to a directory in memory that it shares with the server.
//! It repeats this before the certificate expires, and the server loads the new files by itself.
//!
//! The alternative, a Secret that a Job creates and a `CronJob` renews, has three disadvantages. The private key would be in
//! etcd. A second `kubectl apply` would fail on the immutable Job. The code of the renewal would first run a month after
//! the deployment; here it is the same code as the start.
#![warn(clippy::print_stderr, clippy::print_stdout)]

pub mod bundle;
pub mod certificate;
pub mod config;
pub mod files;
pub mod metrics;
pub mod publish;
pub mod sidecar;

use anyhow::{Context, Result, bail};
use config::{Command, Config};
use metrics::Metrics;
use publish::{API_TIMEOUT, Publisher};
use service::server::{AdminListener, Signals};
use sidecar::Sidecar;
use time::OffsetDateTime;

/// Runs the sidecar until SIGTERM or SIGINT.
///
/// # Errors
/// When the admin listener cannot be bound, there is no API server to connect to, a certificate cannot be created, a file cannot
/// be written, or a round hangs.
pub async fn run(config: Config) -> Result<()> {
    let mut signals = Signals::install()?;
    let Command::Run(config) = config.command else {
        bail!("`check` does not run the sidecar");
    };
    let metrics = Metrics::new();
    let mut admin = AdminListener::bind(config.admin_listen, metrics.registry.clone())?;
    let mut client_config = kube::Config::infer()
        .await
        .context("found no configuration of a Kubernetes API server")?;
    client_config.connect_timeout = Some(API_TIMEOUT);
    client_config.read_timeout = Some(API_TIMEOUT);
    // The client would repeat a request for minutes while the API server answers 503. The next round tries again.
    client_config.default_retry = false;
    let client = kube::Client::try_from(client_config).context("cannot configure the Kubernetes client")?;
    let publisher = Publisher::new(client, &config.api_service, config.identity().common_name());
    let now = OffsetDateTime::now_utc();
    let sidecar = Sidecar::new(&config, publisher, metrics, admin.readiness(), now)?;
    tokio::select! {
        result = sidecar.run(config.reconcile_interval) => result,
        stopped = admin.stopped() => stopped,
        // The files stay: a restarted container uses them again, and they disappear with the pod.
        () = signals.received() => Ok(()),
    }
}
