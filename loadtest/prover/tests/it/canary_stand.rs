//! A canary that answers on this machine, with the fake API server of its cluster, and the tests of canaries on it.

use std::{
    convert::Infallible,
    fs,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse, routing::get};
use engine::{Network, Plan, Schedule, units::Rate};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use http_body_util::Full;
use kube::{Client, client::Body};
use prover::{
    cluster::Cluster,
    verify::{
        Canary, CanaryOptions, CanaryProbe, Client as Requests, Judgement, Token, canary_load,
        canary_metrics, canary_urls,
    },
};
use tempfile::TempDir;
use tokio::time::Instant;
use tower::service_fn;

use crate::{
    canary_cluster::{CANARY, Fake, Fault},
    responses::body,
    scaling_cluster::ScalingCluster,
};

/// The token of the user.
const TOKEN: &str = "s3cret";

/// A cluster, a canary that answers on this machine, and a program in place of kubectl that forwards its port.
pub(crate) struct Stand {
    pub(crate) fake: Fake,
    pub(crate) cluster: Cluster,
    pub(crate) options: CanaryOptions,
    _folder: TempDir,
}

type Shared = State<Fake>;

async fn auth(State(fake): Shared, headers: HeaderMap, form: Bytes) -> impl IntoResponse {
    *fake.asked.lock().unwrap() += 1.0;
    let text = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    if !headers.contains_key(header::CONTENT_TYPE) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text, "fail").into_response();
    }
    if form == format!("token={TOKEN}") && !fake.fault.lock().unwrap().no_user {
        return (text, "density").into_response();
    }
    let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, challenge, "fail").into_response()
}

async fn hello(State(fake): Shared) -> &'static str {
    *fake.asked.lock().unwrap() += 1.0;
    "Hello there"
}

impl Stand {
    pub(crate) async fn new(deployment: &str, fault: Fault) -> Self {
        let fake = Fake {
            fault: Arc::new(Mutex::new(fault)),
            started: Instant::now(),
            asked: Arc::default(),
            reads: Arc::default(),
        };
        let routes = Router::new()
            .route("/hello", get(hello))
            .route("/auth", axum::routing::post(auth))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let server = fake.clone();
        let service = service_fn(move |request: Request<Body>| {
            let (server, uri): (Fake, Uri) = (server.clone(), request.uri().clone());
            async move {
                let (code, value) = server.answer(uri.path());
                let response = http::Response::builder().status(code);
                Ok::<_, Infallible>(response.body(Full::<Bytes>::from(body(&value))).unwrap())
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let stand = Self {
            fake,
            cluster: Cluster::from_client(Client::new(service, "default")),
            options: CanaryOptions {
                canaries: vec![Canary {
                    deployment: deployment.to_owned(),
                    pod: CANARY.to_owned(),
                }],
                namespace: "sample-app".to_owned(),
                kubectl: folder.path().join("kubectl"),
                context: None,
                series: "http_requests_total".to_owned(),
                objective_ms: 200.0,
                window_seconds: 20,
                tolerance: 0.25,
            },
            _folder: folder,
        };
        stand.kubectl(&format!(
            "echo 'Forwarding from 127.0.0.1:{} -> 5000'; exec sleep 60",
            address.port()
        ));
        stand
    }

    pub(crate) fn kubectl(&self, script: &str) {
        fs::write(&self.options.kubectl, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&self.options.kubectl, PermissionsExt::from_mode(0o755)).unwrap();
    }

    /// Lets the next kubectl fail. `name` is different each time.
    pub(crate) fn fail_once(&self, name: &str) {
        let script = fs::read_to_string(&self.options.kubectl).unwrap();
        let script = script.trim_start_matches("#!/bin/sh\n");
        self.kubectl(&format!(
            "once=$(dirname \"$0\")/{name}; [ -e \"$once\" ] || {{ touch \"$once\"; exit 1; }}\n{script}"
        ));
    }

    pub(crate) async fn urls(&self) -> Judgement {
        canary_urls(&self.cluster, &self.options, &client(), within(2)).await
    }

    pub(crate) async fn metrics(&self) -> Judgement {
        canary_metrics(&self.cluster, &self.options, &client(), within(3)).await
    }

    /// Runs the test under load, with a load on another server.
    pub(crate) async fn load(&self, seconds: u64) -> Judgement {
        let other = ScalingCluster::start(|_, _| ()).await;
        let setup = other.setup();
        let probe = CanaryProbe {
            plan: Plan {
                schedule: Schedule::constant(Rate::per_second(20), Duration::from_mins(2)),
                ..setup.step
            },
            addresses: setup.addresses,
        };
        let judged = canary_load(&self.cluster, &self.options, &probe, within(seconds), &mut |_| ()).await;
        judged.unwrap()
    }
}

pub(crate) fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

pub(crate) fn client() -> Requests {
    Requests {
        network: Network::default(),
        token: Some(Token::new(TOKEN).unwrap()),
    }
}
