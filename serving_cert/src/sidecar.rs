//! The loop of the sidecar: publish the authority, write the certificate, repair the caBundle, renew.

use crate::{
    certificate::{Identity, ServingCertificate},
    config::RunConfig,
    files::Files,
    metrics::Metrics,
    publish::{self, Outcome, Publisher},
};
use anyhow::{Context as _, Result};
use service::readiness::{Readiness, State};
use std::time::Duration;
use time::OffsetDateTime;
use tracing::{info, warn};

/// The number of failed rounds between two warnings about the same failure.
const ROUNDS_BETWEEN_WARNINGS: u32 = 30;

/// The time after which a round hangs: what its requests may take, and 10 s for the certificate and the files.
const ROUND_DEADLINE: Duration = publish::LONGEST.saturating_add(Duration::from_secs(10));

/// The state of the sidecar.
pub struct Sidecar {
    identity: Identity,
    validity: Duration,
    files: Files,
    publisher: Publisher,
    metrics: Metrics,
    /// Ready while the files contain a valid certificate.
    readiness: Readiness,
    /// The certificate in the files. Before the first round: the certificate to write.
    current: ServingCertificate,
    /// Whether `current` has been written.
    written: bool,
    /// Whether the next round may write `current`. A server that is running may read the files at once, so every API server
    /// must know the authority before.
    delays_write: bool,
    /// The certificate that replaces `current` once every API server knows its authority.
    next: Option<Next>,
    /// The reason why the last rounds could not publish, and how often it repeated, so that a lasting failure is logged
    /// regularly.
    failure: Option<(String, u32)>,
}

struct Next {
    certificate: ServingCertificate,
    published: bool,
}

impl Sidecar {
    /// Uses the certificate that an earlier run of this container left in the directory, or creates one. A server may still use
    /// a certificate whose renewal is due, so its authority must stay published until the renewal.
    ///
    /// # Errors
    /// When no certificate can be created.
    pub fn new(
        config: &RunConfig,
        publisher: Publisher,
        metrics: Metrics,
        readiness: Readiness,
        now: OffsetDateTime,
    ) -> Result<Self> {
        let (identity, files) = (config.identity(), Files::new(&config.files.directory));
        let found = files.read().ok().filter(|found| found.serves(&identity, now));
        let written = found.is_some();
        let delays_write = files.exist();
        let current = match found {
            Some(found) => found,
            None => ServingCertificate::issue(&identity, config.validity, now)?,
        };
        info!(
            names = identity.dns_names.join(","),
            reused = written,
            not_after = %current.not_after,
            renewal = %current.renewal_time(),
            "serving certificate"
        );
        let sidecar = Self {
            identity,
            validity: config.validity,
            files,
            publisher,
            metrics,
            readiness,
            current,
            written,
            delays_write,
            next: None,
            failure: None,
        };
        // A reused certificate makes it ready, also while the API server is down.
        sidecar.report(now);
        Ok(sidecar)
    }

    /// Runs one round: creates a certificate if one is due, publishes its authority, and writes the files. The files change only
    /// after the API server has confirmed the authority. Failures of the API server are logged, and the next round tries again.
    ///
    /// # Errors
    /// When a certificate cannot be created, or the directory cannot be written.
    pub async fn round(&mut self, now: OffsetDateTime) -> Result<()> {
        // Published in an earlier round: every API server has read the authority within one interval.
        if self.next.as_ref().is_some_and(|next| next.published)
            && let Some(next) = self.next.take()
        {
            self.files.write(&next.certificate)?;
            self.current = next.certificate;
            self.metrics.serving_certificate_renewals_total.inc();
            info!(not_after = %self.current.not_after, renewal = %self.current.renewal_time(), "renewed");
        }
        if self.next.is_none() && now >= self.current.renewal_time() {
            self.next = Some(Next {
                certificate: ServingCertificate::issue(&self.identity, self.validity, now)?,
                published: false,
            });
        }
        if self.publish(now).await {
            if let Some(next) = &mut self.next {
                next.published = true;
            }
            if self.delays_write {
                self.delays_write = false;
            } else if !self.written {
                self.files.write(&self.current)?;
                self.written = true;
                info!("written");
            }
        }
        self.report(now);
        Ok(())
    }

    /// Updates the readiness and the end of the validity. A failure of the API server after the first success is no fault: the server
    /// still works with the certificate that it has.
    fn report(&self, now: OffsetDateTime) {
        let not_after = self.current.not_after;
        if self.written {
            self.metrics
                .serving_certificate_expiration_timestamp_seconds
                .set(not_after.unix_timestamp());
            self.readiness.advance(State::Ready);
        }
        let fault = match &self.failure {
            _ if now >= not_after => Some(format!("the certificate expired at {not_after}")),
            Some((reason, _)) if !self.written => Some(format!("authority not published: {reason}")),
            _ => None,
        };
        // The failure of a round is already in the log.
        let _ = match fault {
            Some(fault) => self.readiness.set_fault(&fault),
            None => self.readiness.clear_fault(),
        };
    }

    /// Publishes the authorities. Returns whether the API server has all of them.
    async fn publish(&mut self, now: OffsetDateTime) -> bool {
        let mut authorities = vec![self.current.authority.clone()];
        authorities.extend(self.next.iter().map(|next| next.certificate.authority.clone()));
        let failure = match self.publisher.ensure(&authorities, now).await {
            Ok(Outcome::Published) => {
                info!("authority published");
                None
            }
            Ok(Outcome::Unchanged) => None,
            Ok(Outcome::Missing) => Some("the APIService does not exist; waiting for it".to_owned()),
            Err(error) => Some(format!("{:#}", anyhow::Error::new(error))),
        };
        if failure.is_some() {
            self.metrics.serving_certificate_publish_failures_total.inc();
        }
        self.failure = failure.map(|reason| {
            let rounds = match &self.failure {
                Some((before, rounds)) if *before == reason => rounds + 1,
                _ => 0,
            };
            if rounds % ROUNDS_BETWEEN_WARNINGS == 0 {
                warn!(rounds, "authority not published: {reason}");
            }
            (reason, rounds)
        });
        self.failure.is_none()
    }

    /// Runs a round every `interval`. Until the first success a round runs every second, because the server waits for the files.
    ///
    /// # Errors
    /// As [`Sidecar::round`], and when a round hangs: a restart of the process tries again.
    pub async fn run(mut self, interval: Duration) -> Result<()> {
        loop {
            tokio::time::timeout(ROUND_DEADLINE, self.round(OffsetDateTime::now_utc()))
                .await
                .with_context(|| format!("a round has not ended after {ROUND_DEADLINE:?}"))??;
            let pause = if self.written {
                interval
            } else {
                interval.min(Duration::from_secs(1))
            };
            tokio::time::sleep(pause).await;
        }
    }
}
