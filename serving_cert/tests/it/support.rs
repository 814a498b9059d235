//! A fake API server with one `APIService`, and the verification of a certificate against a bundle.

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use k8s_openapi::ByteString;
use kube::{Client, client::Body};
use rustls::{
    RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use serde_json::{Value, json};
use serving_cert::certificate::{Identity, ServingCertificate};
use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};
use time::OffsetDateTime;

/// The name of the `APIService` on the fake API server.
pub(crate) const NAME: &str = "v1beta1.custom.metrics.k8s.io";

/// The DNS name at which the API server calls the adapter.
pub(crate) const SERVER_NAME: &str = "prometheus-adapter.monitoring.svc";

/// The validity of certificates in these tests.
pub(crate) const VALIDITY: Duration = Duration::from_hours(30 * 24);

/// Returns the identity of the adapter in this pod.
pub(crate) fn identity(pod: &str) -> Identity {
    Identity::of_service("prometheus-adapter", "monitoring", "cluster.local", pod)
}

/// Returns the time at which each test starts.
pub(crate) fn start() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).expect("a time in 2027")
}

/// The state of the fake API server.
#[derive(Default)]
pub(crate) struct State {
    /// The bundle; `None` while there is no `APIService`.
    pub(crate) bundle: Option<Vec<u8>>,
    /// The number of reads after which another client writes, so that the next write of the caller conflicts.
    pub(crate) interfering_writes: usize,
    /// The number of accepted writes.
    pub(crate) writes: usize,
    /// The number of writes that were rejected with a conflict.
    pub(crate) conflicts: usize,
    /// Whether every request gets status 503.
    pub(crate) down: bool,
    version: usize,
}

/// A fake API server with optimistic concurrency, like the real one.
#[derive(Clone, Default)]
pub(crate) struct ApiServer(pub Arc<Mutex<State>>);

impl ApiServer {
    /// Returns a server whose `APIService` has this bundle.
    pub(crate) fn with_bundle(bundle: &str) -> Self {
        let server = Self::default();
        server.0.lock().expect("lock").bundle = Some(bundle.as_bytes().to_vec());
        server
    }

    /// Returns the current bundle.
    pub(crate) fn bundle(&self) -> String {
        let bundle = self
            .0
            .lock()
            .expect("lock")
            .bundle
            .clone()
            .expect("the APIService exists");
        String::from_utf8(bundle).expect("PEM is text")
    }

    /// Returns a client of this server.
    pub(crate) fn client(&self) -> Client {
        let state = self.0.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let state = state.clone();
            async move {
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                Ok::<_, Infallible>(respond(
                    &mut state.lock().expect("lock"),
                    &head.method,
                    head.uri.path(),
                    &body,
                ))
            }
        });
        Client::new(service, "default")
    }
}

fn respond(state: &mut State, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
    assert_eq!(
        path,
        format!("/apis/apiregistration.k8s.io/v1/apiservices/{NAME}")
    );
    if state.down {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    }
    let Some(bundle) = &mut state.bundle else {
        return failure(StatusCode::NOT_FOUND, "NotFound");
    };
    if method == Method::PATCH {
        let change: Value = serde_json::from_slice(body).expect("a patch");
        if change["metadata"]["resourceVersion"] != state.version.to_string().as_str() {
            state.conflicts += 1;
            return failure(StatusCode::CONFLICT, "Conflict");
        }
        let new: ByteString = serde_json::from_value(change["spec"]["caBundle"].clone()).expect("a bundle");
        *bundle = new.0;
        state.writes += 1;
        state.version += 1;
    }
    let object = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": { "name": NAME, "resourceVersion": state.version.to_string() },
        "spec": {
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "caBundle": ByteString(bundle.clone()),
        },
    });
    if method == Method::GET && state.interfering_writes > 0 {
        state.interfering_writes -= 1;
        state.version += 1;
    }
    Response::new(Body::from(serde_json::to_vec(&object).expect("JSON")))
}

fn failure(code: StatusCode, reason: &str) -> Response<Body> {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure",
        "message": reason, "reason": reason, "code": code.as_u16(),
    });
    let mut response = Response::new(Body::from(serde_json::to_vec(&status).expect("JSON")));
    *response.status_mut() = code;
    response
}

/// Verifies `certificate` for the server `name` at `now`, like a strict client that trusts only `bundle`.
pub(crate) fn verify(
    bundle: &str,
    certificate: &ServingCertificate,
    name: &str,
    now: OffsetDateTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(authority.expect("PEM"))?;
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain_pem.as_bytes())
        .collect::<Result<_, _>>()
        .expect("PEM");
    let seconds = u64::try_from(now.unix_timestamp()).expect("after 1970");
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    verifier
        .verify_server_cert(&chain[0], &chain[1..], &name, &[], now)
        .map(|_| ())
}
