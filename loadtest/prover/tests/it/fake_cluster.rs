//! A fake cluster: answers requests to the API server from a [`ClusterState`].

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

use crate::{
    cluster_state::ClusterState,
    objects::{body, event, event_list, failure, ok, version},
};

impl ClusterState {
    /// Returns the status and the body of the response to a GET request.
    pub(crate) fn answer(&self, path: &str, query: &str) -> (StatusCode, Value) {
        if self.api_down {
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
            | "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io"
                if self.registered =>
            {
                ok(self.registration())
            }
            "/apis/custom.metrics.k8s.io/v1beta1" | "/apis/external.metrics.k8s.io/v1beta1" => {
                match self.unavailable {
                    _ if !self.registered => failure(
                        StatusCode::NOT_FOUND,
                        "the server could not find the requested resource",
                    ),
                    Some((_, message)) => failure(StatusCode::SERVICE_UNAVAILABLE, message),
                    None => ok(self.names()),
                }
            }
            "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query" => {
                self.prometheus(query)
            }
            "/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/targets" => {
                self.prometheus_targets()
            }
            _ if path.starts_with("/api/v1/namespaces/sample-app/pods/")
                && path.ends_with(":9000/proxy/metrics") =>
            {
                let pod = path.split(['/', ':']).nth(6).unwrap();
                ok(Value::String(self.exposition(pod)))
            }
            _ if path.starts_with("/apis/external.metrics.k8s.io/v1beta1/namespaces/sample-app/") => {
                self.external_values(path.rsplit('/').next().unwrap(), query)
            }
            _ if path.starts_with("/apis/custom.metrics.k8s.io/v1beta1/namespaces/sample-app/pods/*/") => {
                self.values(path)
            }
            _ => failure(StatusCode::NOT_FOUND, &format!("{path} not found")),
        }
    }
}

/// A client of a fake cluster, and the state of the cluster.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    pub(crate) cluster: Cluster,
    pub(crate) state: Arc<Mutex<ClusterState>>,
}

impl FakeCluster {
    /// Creates a healthy cluster, and changes its state.
    pub(crate) fn with(change: impl FnOnce(&mut ClusterState)) -> Self {
        let mut state = ClusterState::healthy();
        change(&mut state);
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let service = service_fn(move |request: Request<Body>| {
            assert_eq!(request.method(), http::Method::GET, "the program only reads");
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

    /// Waits until the state satisfies a condition, for at most 20 s.
    pub(crate) async fn wait_until(&self, reached: impl Fn(&ClusterState) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !reached(&self.state.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "the cluster did not reach the state: {:?}",
                self.state.lock().unwrap()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes the state of the running cluster.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ClusterState)) {
        change(&mut self.state.lock().unwrap());
    }
}
