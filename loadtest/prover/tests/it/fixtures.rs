//! A cluster that is only answers: a healthy pair of Deployment and HPA, and what can be broken about it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use kube::{Client, client::Body};
use prover::cluster::Cluster;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower::service_fn;

use crate::objects::{body, event, event_list, failure, ok, version};

/// How far the pods have come that the HPA adds to the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Progress {
    Created,
    Scheduled,
    Started,
    Ready,
    Served,
}

/// The state of the made-up cluster. Every field can be changed while a test runs.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one thing that can be broken"
)]
#[derive(Clone, Debug)]
pub(crate) struct State {
    /// The HPA's metric, and what is offered for it.
    pub(crate) hpa_metric: &'static str,
    pub(crate) offered: Vec<&'static str>,
    pub(crate) hpa_exists: bool,
    pub(crate) metric_type: &'static str,
    pub(crate) desired: usize,
    pub(crate) limited: bool,
    pub(crate) active: bool,
    /// Pods, of which the last `unready` are not ready.
    pub(crate) pods: usize,
    pub(crate) unready: usize,
    pub(crate) progress: Progress,
    /// Requests that the pods have counted, over all of them, and that Prometheus has read of these.
    pub(crate) counted: f64,
    pub(crate) read: f64,
    /// What Prometheus knows.
    pub(crate) prometheus: bool,
    pub(crate) scraped: usize,
    pub(crate) down: usize,
    pub(crate) scrape_age: f64,
    pub(crate) exported: &'static str,
    /// The registration of the custom metrics API.
    pub(crate) registered: bool,
    pub(crate) ca_bundle: Option<&'static str>,
    pub(crate) insecure: bool,
    pub(crate) unavailable: Option<(&'static str, &'static str)>,
    /// Requests a second that the metric shows, over all pods, and for how many of them it has a value.
    pub(crate) metric_sum: f64,
    pub(crate) sampled: Option<usize>,
    pub(crate) sample_age_seconds: i64,
    /// Nothing answers any more.
    pub(crate) away: bool,
    pub(crate) max: usize,
}

impl State {
    /// Two idle pods, and everything as it should be.
    pub(crate) fn healthy() -> Self {
        Self {
            hpa_metric: "http_requests_per_second",
            offered: vec![
                "http_requests_per_second",
                "http_request_duration_seconds_average",
            ],
            hpa_exists: true,
            metric_type: "Pods",
            desired: 2,
            limited: false,
            active: true,
            pods: 2,
            unready: 0,
            progress: Progress::Served,
            counted: 0.0,
            read: 0.0,
            prometheus: true,
            scraped: 2,
            down: 0,
            scrape_age: 2.5,
            exported: "http_requests_total",
            registered: true,
            ca_bundle: Some("LS0tLS1CRUdJTg=="),
            insecure: false,
            unavailable: None,
            metric_sum: 0.0,
            sampled: None,
            sample_age_seconds: 3,
            away: false,
            max: 12,
        }
    }

    pub(crate) fn answer(&self, path: &str, query: &str) -> (StatusCode, Value) {
        if self.away {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "etcdserver: request timed out");
        }
        match path {
            "/version" => ok(version()),
            "/apis/autoscaling/v2/namespaces/sample-app/horizontalpodautoscalers/app-a"
                if self.hpa_exists =>
            {
                ok(self.hpa())
            }
            "/apis/apps/v1/namespaces/sample-app/deployments/app-a" => ok(self.deployment()),
            "/api/v1/namespaces/sample-app/pods" => ok(self.pod_list()),
            "/api/v1/nodes" => ok(Self::nodes()),
            "/apis/events.k8s.io/v1/namespaces/sample-app/events" => ok(self.events()),
            "/apis/events.k8s.io/v1/namespaces/default/events" => ok(event_list(&[event(
                "Node",
                "node-b",
                "NodeReady",
                "Node node-b status is now: NodeReady",
            )])),
            "/apis/events.k8s.io/v1/namespaces/kube-system/events" => ok(event_list(&[
                event(
                    "ConfigMap",
                    "cluster-autoscaler-status",
                    "ScaledUpGroup",
                    "Scale-up: group size set to 2",
                ),
                event("Pod", "coredns-1", "Pulled", "Container image already present"),
            ])),
            "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.custom.metrics.k8s.io"
                if self.registered =>
            {
                ok(self.registration())
            }
            "/apis/custom.metrics.k8s.io/v1beta1" => match self.unavailable {
                _ if !self.registered => failure(
                    StatusCode::NOT_FOUND,
                    "the server could not find the requested resource",
                ),
                Some((_, message)) => failure(StatusCode::SERVICE_UNAVAILABLE, message),
                None => ok(self.names()),
            },
            "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query" => {
                self.prometheus(query)
            }
            _ if path.starts_with("/api/v1/namespaces/sample-app/pods/")
                && path.ends_with(":9000/proxy/metrics") =>
            {
                let pod = path.split(['/', ':']).nth(6).unwrap();
                ok(Value::String(self.exposition(pod)))
            }
            _ if path.starts_with("/apis/custom.metrics.k8s.io/v1beta1/namespaces/sample-app/pods/*/") => {
                self.values(path)
            }
            _ => failure(StatusCode::NOT_FOUND, &format!("{path} not found")),
        }
    }
}

/// A made-up cluster, and the state behind it.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    pub(crate) cluster: Cluster,
    pub(crate) state: Arc<Mutex<State>>,
}

impl FakeCluster {
    /// A healthy cluster with something changed.
    pub(crate) fn with(change: impl FnOnce(&mut State)) -> Self {
        let mut state = State::healthy();
        change(&mut state);
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let service = service_fn(move |request: Request<Body>| {
            assert_eq!(request.method(), http::Method::GET, "this program only reads");
            let uri = request.uri();
            let (code, value) = shared
                .lock()
                .unwrap()
                .answer(uri.path(), uri.query().unwrap_or_default());
            let response = Response::builder()
                .status(code)
                .body(Body::from(body(&value)))
                .unwrap();
            async move { Ok::<_, Infallible>(response) }
        });
        Self {
            cluster: Cluster::from_client(Client::new(service, "default")),
            state,
        }
    }

    /// Waits until the cluster is in a state.
    pub(crate) async fn wait_until(&self, reached: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !reached(&self.state.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "still {:?}",
                self.state.lock().unwrap()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes the cluster while it is being looked at.
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
    }
}
