//! The API server of a cluster with a canary beside two stable pods.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::responses::{failure, list, ok};

/// The pod.
pub(crate) const CANARY: &str = "app-a-canary-1";

/// What is wrong with the canary.
#[expect(clippy::struct_excessive_bools, reason = "each is one possible fault")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fault {
    pub(crate) restarts: i32,
    /// Its container does not start, for this reason.
    pub(crate) waiting: Option<&'static str>,
    /// `/metrics` lacks the series of requests.
    pub(crate) no_series: bool,
    /// It counts no request.
    pub(crate) counts_nothing: bool,
    /// The adapter has no value for it.
    pub(crate) unseen: bool,
    /// The average response time, in seconds.
    pub(crate) seconds: f64,
    /// The share of its requests that fail, and that take longer than 100 ms.
    pub(crate) failing: f64,
    pub(crate) slow: f64,
    /// The share of requests that every pod refuses with 401, because users send a wrong token.
    pub(crate) refused: f64,
    /// The API server gives no answer; or none to every other request for the same path.
    pub(crate) away: bool,
    pub(crate) flaky: bool,
    /// No stable pod is ready.
    pub(crate) alone: bool,
    /// The user of the token.
    pub(crate) no_user: bool,
}

/// A canary beside two stable pods.
#[derive(Clone)]
pub(crate) struct Fake {
    pub(crate) fault: Arc<Mutex<Fault>>,
    pub(crate) started: Instant,
    /// The requests that the canary got directly.
    pub(crate) asked: Arc<Mutex<f64>>,
    /// How often each path was read.
    pub(crate) reads: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Fake {
    fn pod(name: &str, fault: Fault) -> Value {
        let ready = fault.waiting.is_none();
        let state = match fault.waiting {
            Some(reason) => json!({"waiting": {"reason": reason}}),
            None => json!({"running": {}}),
        };
        let ports =
            json!([{"name": "http", "containerPort": 5000}, {"name": "admin", "containerPort": 9000}]);
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "sample-app"},
            "spec": {"containers": [{"name": "app-a", "ports": ports}]},
            "status": {"phase": "Running",
                "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                "containerStatuses": [{"name": "app-a", "ready": ready, "restartCount": fault.restarts, "image": "app-a",
                    "imageID": "", "state": state,
                    "lastState": {"terminated": {"exitCode": 64, "reason": "Error"}}}]}})
    }

    /// The counters of a pod with 100 requests per second, and those that were asked directly.
    fn metrics(&self, pod: &str) -> String {
        let fault = *self.fault.lock().unwrap();
        let is_canary = pod == CANARY;
        if is_canary && fault.no_series {
            return "up 1\n".to_owned();
        }
        let fault = if is_canary {
            fault
        } else {
            Fault {
                refused: fault.refused,
                ..Fault::default()
            }
        };
        let asked = if is_canary && !fault.counts_nothing {
            *self.asked.lock().unwrap()
        } else {
            0.0
        };
        let all = (self.started.elapsed().as_secs_f64() * 100.0).floor()
            * f64::from(u8::from(!fault.counts_nothing))
            + asked;
        let failed = (all * fault.failing).floor();
        let refused = (all * fault.refused).floor();
        let quick = (all * (1.0 - fault.slow)).ceil();
        format!(
            "http_requests_total{{status=\"200\"}} {}\nhttp_requests_total{{status=\"500\"}} {failed}\n\
             http_requests_total{{status=\"401\"}} {refused}\n\
             # TYPE http_request_duration_seconds histogram\n\
             http_request_duration_seconds_bucket{{le=\"0.05\"}} {quick}\n\
             http_request_duration_seconds_bucket{{le=\"0.1\"}} {quick}\n\
             http_request_duration_seconds_bucket{{le=\"+Inf\"}} {all}\n\
             http_request_duration_seconds_sum {}\nhttp_request_duration_seconds_count {all}\n",
            all - failed - refused,
            all * (0.002 + fault.seconds)
        )
    }

    pub(crate) fn answer(&self, path: &str) -> (StatusCode, Value) {
        let fault = *self.fault.lock().unwrap();
        let mut reads = self.reads.lock().unwrap();
        let read = reads.entry(path.to_owned()).or_default();
        *read += 1;
        if fault.away || (fault.flaky && *read % 2 == 1) {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "the server is overloaded");
        }
        drop(reads);
        let hpa = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "app-a", "namespace": "sample-app"},
            "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app-a"}, "maxReplicas": 4,
                "metrics": [{"type": "Pods", "pods": {"metric": {"name": "http_requests_per_second"},
                    "target": {"type": "AverageValue", "averageValue": "50"}}}]}});
        let namespace = "/api/v1/namespaces/sample-app/pods";
        if let Some(pod) = path
            .strip_prefix(namespace)
            .and_then(|rest| rest.strip_suffix(":9000/proxy/metrics"))
        {
            return ok(Value::String(self.metrics(pod.trim_start_matches('/'))));
        }
        match path {
            "/api/v1/namespaces/sample-app/pods/app-a-canary-1" => ok(Self::pod(CANARY, fault)),
            "/api/v1/namespaces/sample-app/pods" => {
                let stable = Fault {
                    waiting: fault.alone.then_some("CrashLoopBackOff"),
                    ..Fault::default()
                };
                let pods = ["app-a-1", "app-a-2"].map(|name| Self::pod(name, stable));
                ok(list("v1", "PodList", pods))
            }
            "/apis/apps/v1/namespaces/sample-app/deployments/app-a" => ok(
                json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app-a"},
                    "spec": {"selector": {"matchLabels": {"app.kubernetes.io/name": "app-a"}}, "template": {}}}),
            ),
            "/apis/autoscaling/v2/namespaces/sample-app/horizontalpodautoscalers" => {
                ok(list("autoscaling/v2", "HorizontalPodAutoscalerList", [hpa]))
            }
            "/apis/custom.metrics.k8s.io/v1beta1/namespaces/sample-app/pods/*/http_requests_per_second" => {
                let pod = if fault.unseen { "another" } else { CANARY };
                let described =
                    json!({"kind": "Pod", "namespace": "sample-app", "name": pod, "apiVersion": "/v1"});
                ok(
                    json!({"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1", "metadata": {},
                    "items": [{"describedObject": described, "metricName": "http_requests_per_second",
                        "timestamp": null, "value": "0"}]}),
                )
            }
            _ => failure(StatusCode::NOT_FOUND, &format!("{path} not found")),
        }
    }
}
