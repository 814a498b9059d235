//! The sidecar's life: publish, write, watch over it, renew.

use crate::{
    certificate::{Identity, ServingCertificate},
    config::Run,
    files::Files,
    publish::{Outcome, Publisher},
};
use anyhow::Result;
use std::time::Duration;
use time::OffsetDateTime;
use tracing::{info, warn};

/// How many rounds a trouble lasts before it is logged again.
const ROUNDS_BETWEEN_WARNINGS: u32 = 30;

/// Everything that `run` holds on to.
pub struct Sidecar {
    identity: Identity,
    validity: Duration,
    files: Files,
    publisher: Publisher,
    /// In the files, or, before the first round, about to be.
    current: ServingCertificate,
    /// Whether `current` is in the files.
    written: bool,
    /// Made and not yet in the files: its authority has to be known to every API server first.
    next: Option<Next>,
    /// Why the last rounds could not publish, and how many in a row, so that a lasting trouble is logged now and then.
    trouble: Option<(String, u32)>,
}

struct Next {
    certificate: ServingCertificate,
    published: bool,
}

impl Sidecar {
    /// Takes up the certificate that an earlier life of this container has left in the directory, or makes one.
    ///
    /// # Errors
    /// When no certificate can be made.
    pub fn new(config: &Run, publisher: Publisher, now: OffsetDateTime) -> Result<Self> {
        let (identity, files) = (config.identity(), Files::new(&config.files.directory));
        let found = files.read().ok().filter(|found| found.serves(&identity, now));
        let written = found.is_some();
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
        Ok(Self {
            identity,
            validity: config.validity,
            files,
            publisher,
            current,
            written,
            next: None,
            trouble: None,
        })
    }

    /// One round: what is due is made, published and written, in this order; the files change only after the API server
    /// has confirmed the authority. Troubles with the API server are logged and left to the next round.
    ///
    /// # Errors
    /// When a certificate cannot be made, or the directory not be written.
    pub async fn round(&mut self, now: OffsetDateTime) -> Result<()> {
        // Published in an earlier round: one interval is time enough for every API server to have seen it.
        if self.next.as_ref().is_some_and(|next| next.published)
            && let Some(next) = self.next.take()
        {
            self.files.write(&next.certificate)?;
            self.current = next.certificate;
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
            if !self.written {
                self.files.write(&self.current)?;
                self.written = true;
                info!("written");
            }
        }
        Ok(())
    }

    /// Whether the API server has all authorities now.
    async fn publish(&mut self, now: OffsetDateTime) -> bool {
        let mut authorities = vec![self.current.authority.clone()];
        authorities.extend(self.next.iter().map(|next| next.certificate.authority.clone()));
        let trouble = match self.publisher.ensure(&authorities, now).await {
            Ok(Outcome::Published) => {
                info!("authority published");
                None
            }
            Ok(Outcome::Unchanged) => None,
            Ok(Outcome::Missing) => Some("there is no such APIService; waiting for it".to_owned()),
            Err(error) => Some(format!("{:#}", anyhow::Error::new(error))),
        };
        self.trouble = trouble.map(|reason| {
            let rounds = match &self.trouble {
                Some((before, rounds)) if *before == reason => rounds + 1,
                _ => 0,
            };
            if rounds % ROUNDS_BETWEEN_WARNINGS == 0 {
                warn!(rounds, "authority not published: {reason}");
            }
            (reason, rounds)
        });
        self.trouble.is_none()
    }

    /// Rounds every `interval`, and every second until the first has succeeded, because the server waits for it.
    ///
    /// # Errors
    /// As [`Sidecar::round`].
    pub async fn run(mut self, interval: Duration) -> Result<()> {
        loop {
            self.round(OffsetDateTime::now_utc()).await?;
            let pause = if self.written {
                interval
            } else {
                interval.min(Duration::from_secs(1))
            };
            tokio::time::sleep(pause).await;
        }
    }
}
