//! Keeps authorities in an `APIService`'s `caBundle`.

use crate::bundle;
use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use time::OffsetDateTime;

/// How often a write is tried again at once because somebody else was faster. Beyond that the next round is soon enough.
const ATTEMPTS: usize = 5;

/// Names us as the owner of the field, for server-side apply and for people who wonder.
const FIELD_MANAGER: &str = "serving-cert";

/// What a look at the `APIService` led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The authorities were there.
    Unchanged,
    /// They were added.
    Published,
    /// There is no such `APIService`, yet or any more.
    Missing,
}

/// One `APIService` and the pod that publishes there.
#[derive(Clone, Debug)]
pub struct Publisher {
    api: Api<APIService>,
    name: String,
    common_name: String,
}

impl Publisher {
    /// Publishes in the `APIService` called `name`; `common_name` is the subject of this pod's authorities.
    #[must_use]
    pub fn new(client: Client, name: &str, common_name: &str) -> Self {
        Self {
            api: Api::all(client),
            name: name.to_owned(),
            common_name: common_name.to_owned(),
        }
    }

    /// Makes sure that `authorities` are in the bundle, without taking away what others need there.
    ///
    /// Two pods may do this at the same time: a write holds only if nothing has changed since the read, by
    /// `resourceVersion`, and is tried again otherwise.
    ///
    /// # Errors
    /// When the API server cannot be reached or refuses.
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
