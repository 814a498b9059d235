//! Publishes authorities in the `caBundle` of an `APIService`.

use crate::bundle;
use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use std::time::Duration;
use time::OffsetDateTime;

/// How long a connection to the API server may take, and how long its response. The next round tries again.
pub const API_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest duration of [`Publisher::ensure`]: each attempt is a read and a write, each with a connection and a response.
pub const LONGEST: Duration = API_TIMEOUT.saturating_mul(2 * 2 * ATTEMPTS);

/// The number of attempts after conflicting writes. After that the next round tries again.
const ATTEMPTS: u32 = 5;

/// The field manager of the writes, which `kubectl get --show-managed-fields` shows.
const FIELD_MANAGER: &str = "serving-cert";

/// The result of publishing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The bundle already contained the authorities.
    Unchanged,
    /// The authorities were added.
    Published,
    /// The `APIService` does not exist.
    Missing,
}

/// Publishes the authorities of one pod in one `APIService`.
#[derive(Clone, Debug)]
pub struct Publisher {
    api: Api<APIService>,
    name: String,
    common_name: String,
}

impl Publisher {
    /// A publisher for the `APIService` `name`. `common_name` is in the subject of this pod's authorities.
    #[must_use]
    pub fn new(client: Client, name: &str, common_name: &str) -> Self {
        Self {
            api: Api::all(client),
            name: name.to_owned(),
            common_name: common_name.to_owned(),
        }
    }

    /// Adds `authorities` to the bundle if they are missing, and keeps the certificates of others.
    ///
    /// Two pods may write at the same time. A write succeeds only if the object has not changed since the read
    /// (`resourceVersion`); otherwise it is repeated.
    ///
    /// # Errors
    /// When the API server cannot be reached or rejects the request.
    pub async fn ensure(
        &self,
        authorities: &[CertificateDer<'static>],
        now: OffsetDateTime,
    ) -> Result<Outcome, kube::Error> {
        let mut attempt = 1;
        loop {
            let Some(api_service) = self.api.get_opt(&self.name).await? else {
                return Ok(Outcome::Missing);
            };
            let current = api_service.spec.as_ref().and_then(|spec| spec.ca_bundle.as_ref());
            let current = current.map(|bundle| bundle.0.as_slice()).unwrap_or_default();
            let Some(bundle) = bundle::merge(current, authorities, &self.common_name, now) else {
                return Ok(Outcome::Unchanged);
            };
            let patch = json!({
                "metadata": { "resourceVersion": api_service.resource_version() },
                "spec": { "caBundle": ByteString(bundle.into_bytes()) },
            });
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            match self.api.patch(&self.name, &params, &Patch::Merge(patch)).await {
                Ok(_) => return Ok(Outcome::Published),
                Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(Outcome::Missing),
                Err(kube::Error::Api(status)) if status.is_conflict() && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }
}
