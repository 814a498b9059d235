//! The responses of the fake cluster, in the format of the API server and Prometheus.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::{
    cluster_state::{ClusterState, PodStage, SecondTarget},
    responses::{event_list, failure, ok},
};

impl ClusterState {
    fn pod_name(number: usize) -> String {
        format!("app-a-5d8f7-{number}")
    }

    pub(crate) fn hpa(&self, name: &str) -> Value {
        let metric = match self.metric_type {
            "Pods" => json!({"type": "Pods", "pods": {"metric": {"name": self.hpa_metric},
                "target": {"type": "AverageValue", "averageValue": "50"}}}),
            "External" => external_metric(&json!({"type": "AverageValue", "averageValue": "50"})),
            "External Value" => external_metric(&json!({"type": "Value", "value": "50"})),
            other => {
                json!({"type": other, "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}})
            }
        };
        let condition = |kind: &str, holds: bool, reason: &str| json!({"type": kind, "status": if holds { "True" } else { "False" }, "reason": reason, "message": "fake message"});
        let (desired, current) = (self.desired, self.pods);
        json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "sample-app"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 2, "maxReplicas": self.max, "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}}},
        "status": {"desiredReplicas": desired, "currentReplicas": current, "conditions": [
            condition("AbleToScale", true, "ReadyForNewScale"),
            condition("ScalingActive", self.active, if self.active { "ValidMetricFound" } else { self.inactive_reason }),
            condition("ScalingLimited", self.limited, if self.limited { "TooManyReplicas" } else { "DesiredWithinRange" }),
        ]}})
    }

    fn ready_pods(&self) -> usize {
        (0..self.pods - self.unready)
            .filter(|pod| self.stage_of(*pod) >= PodStage::Ready)
            .count()
    }

    pub(crate) fn deployment(&self, name: &str) -> Value {
        let ready = self.ready_pods();
        let stuck = self.stuck.map(|message| {
            json!({"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": message})
        });
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "sample-app"},
            "spec": {"replicas": self.pods, "selector": {"matchLabels": {"app.kubernetes.io/name": "app-a"}}, "template": {}},
            "status": {"replicas": self.pods, "updatedReplicas": self.pods, "readyReplicas": ready, "availableReplicas": ready,
                "conditions": Vec::from_iter(stuck)}})
    }

    /// Returns the `ReplicaSet` of an earlier rollout, and the current one.
    pub(crate) fn replica_sets(&self) -> [Value; 2] {
        let set = |revision: usize, wanted: usize, ready: usize| {
            json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": format!("app-a-{revision}"), "namespace": "sample-app",
                    "annotations": {"deployment.kubernetes.io/revision": revision.to_string()}},
                "spec": {"replicas": wanted, "selector": {}}, "status": {"replicas": wanted, "readyReplicas": ready}})
        };
        [
            set(9, 0, 0),
            set(10, self.pods, self.ready_pods() - self.replica_set_lacks),
        ]
    }

    pub(crate) fn pod_list(&self) -> Value {
        let pod = |number: usize| {
            let stage = self.stage_of(number);
            let crashes = (self.pods - self.unready..self.pods).contains(&number);
            let ready = !crashes && number < self.pods && stage >= PodStage::Ready;
            let container = if crashes {
                json!({"waiting": {"reason": "CrashLoopBackOff"}})
            } else if stage >= PodStage::Started {
                json!({"running": {}})
            } else {
                json!({"waiting": {"reason": "ContainerCreating"}})
            };
            let (node, created, scheduled) = if let Some(nodes) = &self.nodes {
                let (created, scheduled) = nodes.pod_times(number);
                (nodes.node_of(number), created, Some(scheduled))
            } else {
                let node =
                    (stage >= PodStage::Scheduled).then(|| ["node-a", "node-b"][number % 2].to_owned());
                (node, Value::Null, None)
            };
            let ready_condition = json!({"type": "Ready", "status": if ready { "True" } else { "False" }});
            let conditions: Vec<Value> = scheduled.into_iter().chain([ready_condition]).collect();
            // A pod without a node has no container yet.
            let has_container = self.nodes.is_none() || node.is_some();
            let containers = has_container.then(|| {
                json!({"name": "app-a", "ready": ready, "restartCount": 0, "image": "app-a",
                "imageID": "", "state": container})
            });
            let deletion = (number >= self.pods).then_some("2027-01-15T08:00:00Z");
            json!({"metadata": {"name": Self::pod_name(number), "namespace": "sample-app", "creationTimestamp": created, "deletionTimestamp": deletion}, "spec": {"containers": [], "nodeName": node},
                "status": {"phase": "Running", "conditions": conditions, "containerStatuses": Vec::from_iter(containers)}})
        };
        let evicted = (0..self.evicted).map(|number| {
            json!({"metadata": {"name": format!("app-a-5d8f7-evicted-{number}"), "namespace": "sample-app"},
                "spec": {"containers": [], "nodeName": "node-a"}, "status": {"phase": "Failed", "reason": "Evicted"}})
        });
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": (0..self.pods + self.terminating).map(pod).chain(evicted).collect::<Vec<_>>()})
    }

    fn stage_of(&self, pod: usize) -> PodStage {
        match &self.nodes {
            Some(nodes) if !nodes.is_placed(pod) => PodStage::Created,
            None if pod >= 2 => self.pod_stage,
            _ => PodStage::Served,
        }
    }

    /// Returns two nodes in two zones.
    pub(crate) fn constant_nodes(&self) -> Value {
        let node = |name: &str, zone: &str| {
            json!({"metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        };
        json!({"apiVersion": "v1", "kind": "NodeList", "metadata": {},
            "items": [node("node-a", self.zones[0]), node("node-b", self.zones[1])]})
    }

    /// Returns the metrics text of a pod.
    pub(crate) fn exposition(&self, pod: &str) -> String {
        let number: usize = pod.rsplit('-').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "a few pods")]
        let each = (self.counted / self.pods as f64).ceil();
        let counted = if self.stage_of(number) == PodStage::Served {
            each
        } else {
            0.0
        };
        format!(
            "# TYPE http_requests_total counter\nhttp_requests_total{{route=\"/hello\"}} {counted}\nup_total 7\n"
        )
    }

    pub(crate) fn events(&self) -> Value {
        let size = format!(
            "New size: {}; reason: pods metric http_requests_per_second above target",
            self.desired
        );
        event_list(&[
            event("HorizontalPodAutoscaler", "app-a", "SuccessfulRescale", &size),
            event("Pod", "other-1", "Killing", "Stopping container"),
        ])
    }

    pub(crate) fn registration(&self) -> Value {
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

    pub(crate) fn names(&self) -> Value {
        let resource = |prefix: &str, name: &&str| {
            json!({"name": format!("{prefix}/{name}"), "singularName": "",
            "namespaced": true, "kind": "MetricValueList", "verbs": ["get"]})
        };
        let pods = self.offered.iter().map(|name| resource("pods", name));
        let all = pods.chain([resource("namespaces", &"something_else")]);
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "custom.metrics.k8s.io/v1beta1",
            "resources": all.collect::<Vec<_>>()})
    }

    pub(crate) fn values(&self, path: &str) -> (StatusCode, Value) {
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
        let rate = self.metric_sum / sampled as f64;
        let is_duration = metric == "http_request_duration_seconds_average";
        let each = 1000.0 * if is_duration { self.average_seconds } else { rate };
        let value = |number: usize| {
            json!({"describedObject": {"kind": "Pod", "namespace": "sample-app", "name": Self::pod_name(number), "apiVersion": "/v1"},
                "metricName": metric, "timestamp": at.to_string(), "value": format!("{each:.0}m"), "selector": null})
        };
        ok(
            json!({"kind": "MetricValueList", "apiVersion": "custom.metrics.k8s.io/v1beta1", "metadata": {},
            "items": (0..sampled).map(value).collect::<Vec<_>>()}),
        )
    }

    pub(crate) fn prometheus(&self, query: &str) -> (StatusCode, Value) {
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
        let sample = |pod: usize, job: &str, port: u16, value: f64| {
            json!({"metric": {"pod": Self::pod_name(pod), "job": job, "instance": format!("10.0.0.{pod}:{port}")},
                "value": [0.0, value.to_string()]})
        };
        let each = |value: &dyn Fn(usize) -> f64| -> Vec<Value> {
            let pods = 0..self.targets;
            pods.map(|pod| sample(pod, "sample-app", 9000, value(pod)))
                .collect()
        };
        let second = |value: &dyn Fn(SecondTarget) -> f64| -> Vec<Value> {
            let targets = self.second_target.iter();
            let of_pods = |second: &SecondTarget| {
                let second = *second;
                let pods = 0..self.targets;
                pods.map(move |pod| (pod, second)).collect::<Vec<_>>()
            };
            targets
                .flat_map(of_pods)
                .map(|(pod, second)| sample(pod, second.job, second.port, value(second)))
                .collect()
        };
        let is_up = |pod: usize| pod < self.targets - self.failing_targets;
        let result = match query.as_str() {
            "up{namespace=\"sample-app\"}" => [
                each(&|pod| f64::from(u8::from(is_up(pod)))),
                second(&|second| f64::from(u8::from(second.up))),
            ]
            .concat(),
            "time() - timestamp(up{namespace=\"sample-app\"})" => {
                [each(&|_| self.scrape_age), second(&|second| second.age)].concat()
            }
            "time() - max by (pod, job, instance) (timestamp(http_requests_total{namespace=\"sample-app\"}))" =>
            {
                let is_exported = self.exported == "http_requests_total";
                // A failed scrape ends the series.
                let delivering = (0..self.targets).filter(|pod| is_exported && is_up(*pod));
                delivering
                    .map(|pod| sample(pod, "sample-app", 9000, self.scrape_age))
                    .collect()
            }
            query
                if query.starts_with("up{namespace=\"sample-app\",pod=~\"app-a-5d8f7-0|app-a-5d8f7-1\"") =>
            {
                each(&|_| 1.0)
            }
            "sum(http_requests_total{namespace=\"sample-app\",pod=~\"app-a-5d8f7-0|app-a-5d8f7-1\"})" => {
                vec![json!({"metric": {}, "value": [0.0, self.scraped.to_string()]})]
            }
            "sum by (pod) (http_requests_total{namespace=\"sample-app\",pod=~\"(app-a)-.*\"})"
            | "sum by (pod) (http_requests_total{namespace=\"sample-app\",pod=~\"(app-a|app-b)-.*\"})" => {
                #[expect(clippy::cast_precision_loss, reason = "a few pods")]
                let share = self.scraped / self.pods as f64;
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
            other => panic!("unexpected query: {other}"),
        };
        ok(json!({"status": "success", "data": {"resultType": "vector", "result": result}}))
    }
}

impl ClusterState {
    /// Returns the values of an external metric.
    pub(crate) fn external_values(&self, metric: &str, query: &str) -> (StatusCode, Value) {
        if let Some((_, message)) = self.unavailable {
            return failure(StatusCode::SERVICE_UNAVAILABLE, message);
        }
        let value = self
            .external
            .filter(|_| metric == "s0-queue" && query == "labelSelector=scaledobject%3Dapp-a");
        let Some(value) = value else {
            return failure(StatusCode::NOT_FOUND, "no metric of this name and selector");
        };
        let at = jiff::Timestamp::now() - Duration::from_secs(self.sample_age_seconds.unsigned_abs());
        let series = |zone: &str, share: f64| {
            json!({"metricName": metric, "metricLabels": {"zone": zone}, "timestamp": at.to_string(),
                "value": format!("{:.0}m", value * share * 1000.0)})
        };
        ok(
            json!({"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {},
            "items": [series("a", 0.75), series("b", 0.25)]}),
        )
    }

    /// Returns the targets of Prometheus: the pods, and one of another namespace with another interval.
    pub(crate) fn prometheus_targets(&self) -> (StatusCode, Value) {
        let Some(interval) = self.scrape_interval else {
            return failure(StatusCode::NOT_FOUND, "404 page not found");
        };
        let target = |namespace: &str, job: &str, pod: usize, interval: &str| {
            json!({"labels": {"namespace": namespace, "pod": Self::pod_name(pod), "job": job},
                "scrapePool": job, "health": "up", "scrapeInterval": interval, "scrapeTimeout": "4s"})
        };
        let targets: Vec<Value> = (0..self.targets)
            .flat_map(|pod| {
                let second = self.second_target.iter();
                let second = second.map(|second| target("sample-app", second.job, pod, second.interval));
                let mut targets: Vec<Value> = second.collect();
                targets.push(target("sample-app", "sample-app", pod, interval));
                targets.push(target("other", "other", pod, "1h0m0s"));
                targets
            })
            .collect();
        ok(json!({"status": "success", "data": {"activeTargets": targets, "droppedTargets": []}}))
    }
}

fn external_metric(target: &Value) -> Value {
    json!({"type": "External", "external": {
        "metric": {"name": "s0-queue", "selector": {"matchLabels": {"scaledobject": "app-a"}}}, "target": target}})
}

/// Returns the version of the API server.
pub(crate) fn version() -> Value {
    json!({"major": "1", "minor": "35", "gitVersion": "v1.35.4", "gitCommit": "", "gitTreeState": "", "buildDate": "",
        "goVersion": "", "compiler": "", "platform": ""})
}

pub(crate) fn event(kind: &str, name: &str, reason: &str, note: &str) -> Value {
    let now = jiff::Timestamp::now();
    json!({"metadata": {"name": format!("{name}.{reason}"), "uid": format!("{name}.{reason}.{note}"), "resourceVersion": "1"},
        "eventTime": null, "deprecatedLastTimestamp": now.to_string(), "reason": reason, "note": note, "type": "Normal",
        "regarding": {"kind": kind, "name": name}, "deprecatedSource": {"component": "fake"}})
}
