//! The tests of a canary, each on a canary on which it passes, and on one that is broken in just that way.

use std::{
    convert::Infallible,
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, response::IntoResponse, routing::get};
use engine::{Mix, Network, Plan, Protocol, Schedule, Target, probe, units::Rate};
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use kube::{Client, client::Body};
use prover::{
    cluster::Cluster,
    verify::{
        Canary, CanaryOptions, CanaryProbe, Client as Requests, Judgement, Token, canary_load,
        canary_metrics, canary_starts, canary_urls,
    },
};
use tempfile::TempDir;
use tokio::time::Instant;
use tower::service_fn;

use crate::{
    canary_cluster::{CANARY, Fake, Fault},
    responses::body,
    scaling_cluster::ScalingCluster,
    verify::{assert_failed, assert_passed},
};

/// The token of the user.
const TOKEN: &str = "s3cret";

/// A cluster, a canary that answers on this machine, and a program in place of kubectl that forwards its port.
struct Stand {
    fake: Fake,
    cluster: Cluster,
    options: CanaryOptions,
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
    async fn new(deployment: &str, fault: Fault) -> Self {
        let fake = Fake {
            fault: Arc::new(Mutex::new(fault)),
            started: Instant::now(),
            asked: Arc::default(),
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

    fn kubectl(&self, script: &str) {
        fs::write(&self.options.kubectl, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&self.options.kubectl, PermissionsExt::from_mode(0o755)).unwrap();
    }

    async fn urls(&self) -> Judgement {
        canary_urls(&self.cluster, &self.options, &client(), within(2)).await
    }

    async fn metrics(&self) -> Judgement {
        canary_metrics(&self.cluster, &self.options, &client(), within(3)).await
    }

    /// Runs the test under load, with a load on another server.
    async fn load(&self, seconds: u64) -> Judgement {
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

fn within(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn client() -> Requests {
    Requests {
        network: Network::default(),
        token: Some(Token::new(TOKEN).unwrap()),
    }
}

#[tokio::test]
async fn a_canary_that_restarts_or_does_not_become_ready_does_not_start() {
    let stand = Stand::new("app-a", Fault::default()).await;
    let starts = || canary_starts(&stand.cluster, &stand.options, within(2));
    assert_passed(&starts().await, "app-a-canary-1 is ready, without a restart");
    stand.fake.fault.lock().unwrap().waiting = Some("ErrImagePull");
    assert_failed(&starts().await, "app-a: the canary is not ready", "ErrImagePull");
    stand.fake.fault.lock().unwrap().restarts = 1;
    assert_failed(
        &starts().await,
        "the canary does not start",
        "exit code 64 (Error)",
    );
}

#[tokio::test]
async fn the_wire_contract_of_app_b_is_asked_directly() {
    let stand = Stand::new("app-b", Fault::default()).await;
    assert_passed(&stand.urls().await, "POST http://127.0.0.1:");
    stand.fake.fault.lock().unwrap().no_user = true;
    assert_failed(
        &stand.urls().await,
        "app-b: 1 of 5 requests",
        "the status is not 200",
    );
    stand.kubectl("echo 'error: pod not found' >&2; exit 1");
    assert_failed(
        &stand.urls().await,
        "cannot be asked directly",
        "error: pod not found",
    );
}

#[tokio::test]
async fn a_canary_without_metrics_or_that_is_slow_is_named() {
    let stand = Stand::new("app-a", Fault::default()).await;
    assert_passed(
        &stand.metrics().await,
        "http_requests_per_second has a value for it",
    );
    for (fault, reason, seen) in [
        (
            Fault {
                no_series: true,
                ..Fault::default()
            },
            "/metrics of the canary cannot be used",
            "there is no series http_requests_total",
        ),
        (
            Fault {
                counts_nothing: true,
                ..Fault::default()
            },
            "http_requests_total does not count",
            "grew by 0 in 20 requests",
        ),
        (
            Fault {
                seconds: 0.3,
                ..Fault::default()
            },
            "exceeds 200 ms",
            "average response time 302 ms",
        ),
        (
            Fault {
                unseen: true,
                ..Fault::default()
            },
            "the HPA app-a does not see the canary in http_requests_per_second",
            "no value for this pod",
        ),
    ] {
        *stand.fake.fault.lock().unwrap() = fault;
        assert_failed(&stand.metrics().await, reason, seen);
    }
}

#[tokio::test]
async fn a_canary_as_good_as_the_stable_pods_passes_after_the_window() {
    let stand = Stand::new("app-a", Fault::default()).await;
    let judged = stand.load(60).await;
    assert_passed(&judged, "failed: 0 of ");
    let observed = judged
        .figures
        .iter()
        .find(|figure| figure.name == "app-a: observed")
        .unwrap();
    assert!((19.0..40.0).contains(&observed.value), "{observed:?}");
}

#[tokio::test]
async fn a_canary_that_fails_or_is_slow_or_restarts_is_caught_within_seconds() {
    for (fault, reason, seen) in [
        (
            Fault {
                failing: 0.2,
                ..Fault::default()
            },
            "app-a: the canary is worse than the stable pods",
            "failed: ",
        ),
        (
            Fault {
                slow: 0.2,
                ..Fault::default()
            },
            "worse",
            "slower than 100 ms: ",
        ),
        (
            Fault {
                seconds: 0.02,
                ..Fault::default()
            },
            "worse",
            "average response time: 22 ms, stable pods 2 ms",
        ),
        (
            Fault {
                restarts: 1,
                ..Fault::default()
            },
            "the canary has restarted: it ended with exit code 64 (Error)",
            "after ",
        ),
    ] {
        let stand = Stand::new("app-a", fault).await;
        let started = Instant::now();
        assert_failed(&stand.load(60).await, reason, seen);
        assert!(
            started.elapsed() < Duration::from_secs(18),
            "{fault:?}: {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_canary_without_requests_is_not_shown_to_be_good_and_a_refused_connection_counts() {
    let stand = Stand::new(
        "app-a",
        Fault {
            counts_nothing: true,
            ..Fault::default()
        },
    )
    .await;
    let judged = stand.load(4).await;
    assert_failed(
        &judged,
        "not shown to be as good as the stable pods before the deadline",
        "failed: 0 of 0",
    );
    // Every request of the test's own load is refused, and no pod counts a failure.
    let stand = Stand::new("app-a", Fault::default()).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let target = Target::new(Method::GET, &format!("http://{address}/hello")).unwrap();
    let mix = Mix::new(vec![target], &[], &Bytes::new(), Protocol::Http1).unwrap();
    let addresses = probe(&mix, &Network::default(), Duration::from_secs(5))
        .await
        .unwrap();
    drop(listener);
    let other = ScalingCluster::start(|_, _| ()).await;
    let probe = CanaryProbe {
        plan: Plan {
            schedule: Schedule::constant(Rate::per_second(20), Duration::from_mins(2)),
            mix,
            ..other.setup().step
        },
        addresses,
    };
    let judged = canary_load(&stand.cluster, &stand.options, &probe, within(60), &mut |_| ())
        .await
        .unwrap();
    assert_failed(
        &judged,
        "worse",
        "failed requests of the test's own load that no pod counted",
    );
}
