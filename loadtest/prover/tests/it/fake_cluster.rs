//! A fake cluster: answers requests to the API server from a [`ClusterState`].

use std::{
    convert::Infallible,
    future,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use kube::{Client, client::Body};
use prover::cluster::Cluster;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use tower::service_fn;

use crate::{
    cluster_state::ClusterState,
    fake_watch::{Collection, Versions, WatchRequest},
    objects::{event, version},
    responses::{body, event_list, failure, list, ok},
};

impl ClusterState {
    /// Returns the status and the body of the response to a GET request.
    pub(crate) fn answer(&self, path: &str, query: &str) -> (StatusCode, Value) {
        if self.api_down {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "etcdserver: request timed out");
        }
        if self.events_forbidden && path == "/apis/events.k8s.io/v1/namespaces/kube-system/events" {
            return failure(
                StatusCode::FORBIDDEN,
                "events.events.k8s.io is forbidden: User \"tester\" cannot list resource \"events\"",
            );
        }
        let hides_nodes = self.nodes_forbidden && path == "/api/v1/nodes";
        let of_nodes = self.nodes.as_ref().filter(|_| !hides_nodes);
        if let Some(answer) = of_nodes.and_then(|nodes| nodes.answer(path)) {
            return answer;
        }
        match path {
            "/version" => ok(version()),
            // Both HPAs scale the same pods.
            "/apis/autoscaling/v2/namespaces/sample-app/horizontalpodautoscalers/app-a"
            | "/apis/autoscaling/v2/namespaces/sample-app/horizontalpodautoscalers/app-b"
                if self.hpa_exists =>
            {
                ok(self.hpa(last_segment(path)))
            }
            "/apis/apps/v1/namespaces/sample-app/deployments/app-a"
            | "/apis/apps/v1/namespaces/sample-app/deployments/app-b" => {
                ok(self.deployment(last_segment(path)))
            }
            "/apis/autoscaling/v2/namespaces/sample-app/horizontalpodautoscalers" => {
                let hpas = self.hpa_exists.then(|| self.hpa("app-a"));
                ok(list("autoscaling/v2", "HorizontalPodAutoscalerList", hpas))
            }
            "/apis/apps/v1/namespaces/sample-app/replicasets" => {
                ok(list("apps/v1", "ReplicaSetList", self.replica_sets()))
            }
            "/api/v1/namespaces/sample-app/pods" => ok(self.pod_list()),
            "/api/v1/nodes" if self.nodes_forbidden => failure(
                StatusCode::FORBIDDEN,
                "nodes is forbidden: User \"tester\" cannot list resource \"nodes\"",
            ),
            "/api/v1/nodes" => ok(self.constant_nodes()),
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
            _ if is_pod_proxy(path) && path.contains("evicted") => {
                failure(StatusCode::SERVICE_UNAVAILABLE, "the pod does not run")
            }
            _ if is_pod_proxy(path) => {
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

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn is_pod_proxy(path: &str) -> bool {
    path.starts_with("/api/v1/namespaces/sample-app/pods/") && path.ends_with(":9000/proxy/metrics")
}

/// A fake cluster: a client and the API server.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    pub(crate) cluster: Cluster,
    pub(crate) api: FakeApi,
}

/// The API server of a fake cluster.
#[derive(Clone)]
pub(crate) struct FakeApi {
    pub(crate) state: Arc<Mutex<ClusterState>>,
    versions: Arc<Versions>,
}

/// The body of a response.
pub(crate) type FakeBody = UnsyncBoxBody<Bytes, Infallible>;

impl FakeApi {
    /// Responds to a request as the API server does.
    pub(crate) async fn respond(self, uri: Uri) -> Response<FakeBody> {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let watch = WatchRequest::of(path, query);
        let (code, body) = match watch {
            Some(watch) if self.answers(path) => {
                let events = watch.respond(self.state, self.versions).await;
                (StatusCode::OK, events.boxed_unsync())
            }
            _ => {
                let (code, body) = self.answer(path, query).await;
                (code, Full::from(body).boxed_unsync())
            }
        };
        Response::builder().status(code).body(body).unwrap()
    }

    /// Returns whether the API server answers requests for a collection.
    fn answers(&self, path: &str) -> bool {
        let state = self.state.lock().unwrap();
        state.answer(path, "").0 == StatusCode::OK
    }

    /// Returns the status and the body of a response that is no watch.
    async fn answer(&self, path: &str, query: &str) -> (StatusCode, Vec<u8>) {
        let answer = {
            let mut state = self.state.lock().unwrap();
            let hangs = state.pods_unreachable && is_pod_proxy(path);
            (!hangs).then(|| {
                let (code, mut value) = state.answer(path, query);
                if let Some(collection) = Collection::of(path).filter(|_| code == StatusCode::OK) {
                    *state.lists.entry(path.to_owned()).or_default() += 1;
                    self.versions.add_version(collection, &state, &mut value);
                }
                (code, body(&value))
            })
        };
        match answer {
            Some(answer) => answer,
            None => future::pending().await,
        }
    }
}

impl FakeCluster {
    /// Creates a healthy cluster, and changes its state.
    pub(crate) fn with(change: impl FnOnce(&mut ClusterState)) -> Self {
        let mut state = ClusterState::healthy();
        change(&mut state);
        let api = FakeApi {
            state: Arc::new(Mutex::new(state)),
            versions: Arc::default(),
        };
        let server = api.clone();
        let service = service_fn(move |request: Request<Body>| {
            assert_eq!(request.method(), http::Method::GET, "the program only reads");
            let (server, uri) = (server.clone(), request.uri().clone());
            async move { Ok::<_, Infallible>(server.respond(uri).await) }
        });
        Self {
            cluster: Cluster::from_client(Client::new(service, "default")),
            api,
        }
    }

    /// Waits until the state satisfies a condition, for at most 20 s.
    pub(crate) async fn wait_until(&self, reached: impl Fn(&ClusterState) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !reached(&self.api.state.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "the cluster did not reach the state: {:?}",
                self.api.state.lock().unwrap()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Changes the state of the running cluster.
    pub(crate) fn change(&self, change: impl FnOnce(&mut ClusterState)) {
        change(&mut self.api.state.lock().unwrap());
    }
}
