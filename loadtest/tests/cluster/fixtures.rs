//! A cluster that is only answers: a healthy pair of Deployment and HPA, and what can be broken about it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use http::{Request, Response, StatusCode, Uri};
use kube::{Client, client::Body};
use loadtest::cluster::Cluster;
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::time::{Instant, sleep};
use tower::service_fn;

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

    fn pod_name(number: usize) -> String {
        format!("app-a-5d8f7-{number}")
    }

    fn answer(&self, path: &str, query: &str) -> (StatusCode, Value) {
        if self.away {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "etcdserver: request timed out");
        }
        match path {
            "/version" => ok(
                json!({"major": "1", "minor": "35", "gitVersion": "v1.35.4", "gitCommit": "", "gitTreeState": "",
                "buildDate": "", "goVersion": "", "compiler": "", "platform": ""}),
            ),
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

    fn hpa(&self) -> Value {
        let metric = match self.metric_type {
            "Pods" => json!({"type": "Pods", "pods": {"metric": {"name": self.hpa_metric},
                "target": {"type": "AverageValue", "averageValue": "50"}}}),
            other => {
                json!({"type": other, "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}})
            }
        };
        let condition = |kind: &str, holds: bool, reason: &str| json!({"type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": "as made up"});
        let (desired, current) = (self.desired, self.pods);
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "app-a", "namespace": "sample-app"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app-a"},
            "minReplicas": 2, "maxReplicas": self.max, "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}}},
        "status": {"desiredReplicas": desired, "currentReplicas": current, "conditions": [
            condition("AbleToScale", true, "ReadyForNewScale"),
            condition("ScalingActive", self.active, if self.active { "ValidMetricFound" } else { "FailedGetPodsMetric" }),
            condition("ScalingLimited", self.limited, if self.limited { "TooManyReplicas" } else { "DesiredWithinRange" }),
        ]}})
    }

    fn deployment(&self) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app-a", "namespace": "sample-app"},
            "spec": {"replicas": self.pods, "selector": {"matchLabels": {"app.kubernetes.io/name": "app-a"}}, "template": {}},
            "status": {"readyReplicas": (0..self.pods - self.unready).filter(|pod| self.progress_of(*pod) >= Progress::Ready).count()}})
    }

    fn pod_list(&self) -> Value {
        let pod = |number: usize| {
            let progress = self.progress_of(number);
            let ready = number < self.pods - self.unready && progress >= Progress::Ready;
            let state = if number >= self.pods - self.unready {
                json!({"waiting": {"reason": "CrashLoopBackOff"}})
            } else if progress >= Progress::Started {
                json!({"running": {}})
            } else {
                json!({"waiting": {"reason": "ContainerCreating"}})
            };
            let node = (progress >= Progress::Scheduled).then(|| ["node-a", "node-b"][number % 2]);
            json!({"metadata": {"name": Self::pod_name(number), "namespace": "sample-app"}, "spec": {"containers": [], "nodeName": node},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                    "containerStatuses": [{"name": "app-a", "ready": ready, "restartCount": 0, "image": "app-a", "imageID": "", "state": state}]}})
        };
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": (0..self.pods).map(pod).collect::<Vec<_>>()})
    }

    fn progress_of(&self, pod: usize) -> Progress {
        if pod < 2 { Progress::Served } else { self.progress }
    }

    /// Two nodes in two zones.
    fn nodes() -> Value {
        let node = |name: &str, zone: &str| {
            json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        };
        json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {},
            "items": [node("node-a", "zone-a"), node("node-b", "zone-b")]})
    }

    /// What a pod says of itself.
    fn exposition(&self, pod: &str) -> String {
        let number: usize = pod.rsplit('-').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a few pods")]
        let each = (self.counted / self.pods as f64).ceil();
        let counted = if self.progress_of(number) == Progress::Served {
            each
        } else {
            0.0
        };
        format!(
            "# TYPE http_requests_total counter\nhttp_requests_total{{route=\"/hello\"}} {counted}\nup_total 7\n"
        )
    }

    fn events(&self) -> Value {
        let size = format!(
            "New size: {}; reason: pods metric http_requests_per_second above target",
            self.desired
        );
        event_list(&[
            event("HorizontalPodAutoscaler", "app-a", "SuccessfulRescale", &size),
            event("Pod", "somebody-else-1", "Killing", "Stopping container"),
        ])
    }

    fn registration(&self) -> Value {
        let (status, reason, message) = match self.unavailable {
            None => ("True", "Passed", "all checks passed"),
            Some((reason, message)) => ("False", reason, message),
        };
        json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
            "metadata": {"name": "v1beta1.custom.metrics.k8s.io"},
            "spec": {"group": "custom.metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100,
                "service": {"namespace": "monitoring", "name": "prometheus-adapter"},
                "caBundle": self.ca_bundle, "insecureSkipTLSVerify": self.insecure},
            "status": {"conditions": [{"type": "Available", "status": status, "reason": reason, "message": message}]}})
    }

    fn names(&self) -> Value {
        let resource = |prefix: &str, name: &&str| {
            json!({"name": format!("{prefix}/{name}"), "singularName": "",
            "namespaced": true, "kind": "MetricValueList", "verbs": ["get"]})
        };
        let pods = self.offered.iter().map(|name| resource("pods", name));
        let all = pods.chain([resource("namespaces", &"something_else")]);
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "custom.metrics.k8s.io/v1beta1",
            "resources": all.collect::<Vec<_>>()})
    }

    fn values(&self, path: &str) -> (StatusCode, Value) {
        let metric = path.rsplit('/').next().unwrap();
        if let Some((_, message)) = self.unavailable {
            return failure(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        let sampled = self.sampled.unwrap_or(self.pods);
        if !self.offered.contains(&metric) || sampled == 0 {
            let message = format!("the server could not find the metric {metric} for pods");
            return failure(StatusCode::NOT_FOUND, &message);
        }
        let at = jiff::Timestamp::now() - Duration::from_secs(self.sample_age_seconds.unsigned_abs());
        #[expect(clippy::cast_precision_loss, reason = "a few pods")]
        let each = self.metric_sum / sampled as f64 * 1000.0;
        let value = |number: usize| {
            json!({"describedObject": {"kind": "Pod", "namespace": "sample-app", "name": Self::pod_name(number), "apiVersion": "/v1"},
                "metricName": metric, "timestamp": at.to_string(), "value": format!("{each:.0}m"), "selector": null})
        };
        ok(
            json!({"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1", "metadata": {},
            "items": (0..sampled).map(value).collect::<Vec<_>>()}),
        )
    }

    fn prometheus(&self, query: &str) -> (StatusCode, Value) {
        if !self.prometheus {
            return failure(
                StatusCode::SERVICE_UNAVAILABLE,
                "no endpoints available for service \"prometheus:9090\"",
            );
        }
        let query: String = form_urlencoded::parse(query.as_bytes())
            .find(|(key, _)| key == "query")
            .unwrap()
            .1
            .into_owned();
        let each = |value: &dyn Fn(usize) -> f64| -> Vec<Value> {
            (0..self.scraped)
                .map(|pod| json!({"metric": {"pod": Self::pod_name(pod), "instance": format!("10.0.0.{pod}:9000")}, "value": [0.0, value(pod).to_string()]}))
                .collect()
        };
        let result = match query.as_str() {
            "up{namespace=\"sample-app\"}" => {
                each(&|pod| if pod < self.scraped - self.down { 1.0 } else { 0.0 })
            }
            "time() - timestamp(up{namespace=\"sample-app\"})" => each(&|_| self.scrape_age),
            "count by (pod) (http_requests_total{namespace=\"sample-app\"})"
                if self.exported != "http_requests_total" =>
            {
                vec![]
            }
            "count by (pod) (http_requests_total{namespace=\"sample-app\"})" => each(&|_| 4.0),
            query
                if query.starts_with("up{namespace=\"sample-app\",pod=~\"app-a-5d8f7-0|app-a-5d8f7-1\"") =>
            {
                each(&|_| 1.0)
            }
            "sum(http_requests_total{namespace=\"sample-app\",pod=~\"app-a-5d8f7-0|app-a-5d8f7-1\"})" => {
                vec![json!({"metric": {}, "value": [0.0, self.read.to_string()]})]
            }
            "sum by (pod) (http_requests_total{namespace=\"sample-app\",pod=~\"(app-a)-.*\"})" => {
                #[expect(clippy::cast_precision_loss, reason = "a few pods")]
                let share = self.read / self.pods as f64;
                (0..self.pods)
                    .map(|pod| json!({"metric": {"pod": Self::pod_name(pod)}, "value": [0.0, share.to_string()]}))
                    .collect()
            }
            "count by (__name__) ({namespace=\"sample-app\"})" => {
                ["go_goroutines", "build_info", self.exported, "up"]
                    .iter()
                    .map(|name| json!({"metric": {"__name__": name}, "value": [0.0, "2"]}))
                    .collect()
            }
            other => panic!("an unexpected query: {other}"),
        };
        ok(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
    }
}

fn event(kind: &str, name: &str, reason: &str, note: &str) -> Value {
    let now = jiff::Timestamp::now();
    json!({"metadata": {"name": format!("{name}.{reason}"), "uid": format!("{name}.{reason}.{note}"), "resourceVersion": "1"},
        "eventTime": null, "deprecatedLastTimestamp": now.to_string(), "reason": reason, "note": note, "type": "Normal",
        "regarding": {"kind": kind, "name": name}, "deprecatedSource": {"component": "made-up"}})
}

fn event_list(events: &[Value]) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "EventList", "metadata": {}, "items": events})
}

/// A text is sent as it is, anything else as JSON.
fn body(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => serde_json::to_vec(other).unwrap(),
    }
}

fn ok(value: Value) -> (StatusCode, Value) {
    (StatusCode::OK, value)
}

fn failure(code: StatusCode, message: &str) -> (StatusCode, Value) {
    let reason = if code == StatusCode::NOT_FOUND {
        "NotFound"
    } else {
        "ServiceUnavailable"
    };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code.as_u16()}),
    )
}

/// A made-up cluster, and the state behind it.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) cluster: Cluster,
    state: Arc<Mutex<State>>,
}

impl Scenario {
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
            cluster: Cluster::of(Client::new(service, "default")),
            state,
        }
    }

    /// Serves the same cluster over HTTP, and writes a kubeconfig that leads there, with a context `made-up`.
    pub(crate) async fn serve(&self) -> NamedTempFile {
        let state = Arc::clone(&self.state);
        let answer = move |uri: Uri| async move {
            let (code, value) = state
                .lock()
                .unwrap()
                .answer(uri.path(), uri.query().unwrap_or_default());
            (code, body(&value))
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        let kubeconfig = NamedTempFile::new().unwrap();
        let content = json!({"apiVersion": "v1", "kind": "Config", "current-context": "made-up", "users": [],
            "clusters": [{"name": "made-up", "cluster": {"server": server}}],
            "contexts": [{"name": "made-up", "context": {"cluster": "made-up", "user": ""}}]});
        std::fs::write(kubeconfig.path(), content.to_string()).unwrap();
        kubeconfig
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
