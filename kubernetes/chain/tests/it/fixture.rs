//! A small installation in YAML, and the expectations about its diagnosis.

use chain_check::{Input, check, parse};
use wiring::{
    Link,
    diagnosis::{Diagnosis, LinkState},
};

/// The HPA and the Deployment, without a namespace.
pub(crate) const SHOP: &str = r#"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  minReplicas: 2
  maxReplicas: 10
  metrics:
    - type: Pods
      pods:
        metric: {name: orders_per_second}
        target: {type: AverageValue, averageValue: "20"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata:
      labels: {app: shop}
      annotations: {prometheus.io/scrape: "true", prometheus.io/port: "8080"}
    spec:
      containers:
        - name: shop
          image: example/shop:1
          ports: [{containerPort: 8080}]
"#;

/// Prometheus that discovers pods by their annotations. The flag is in the command, and the file is mounted alone.
pub(crate) const PROMETHEUS: &str = r"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: prometheus, namespace: observability}
data:
  prometheus.yml: |
    global: {scrape_interval: 20s}
    scrape_configs:
      - job_name: nodes
        kubernetes_sd_configs: [{role: node}]
      - job_name: annotated-pods
        kubernetes_sd_configs: [{role: pod}]
        relabel_configs:
          - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: true}
          - source_labels: [__address__, __meta_kubernetes_pod_annotation_prometheus_io_port]
            regex: ([^:]+)(?::\d+)?;(\d+)
            replacement: $1:$2
            target_label: __address__
          - {source_labels: [__meta_kubernetes_namespace], target_label: namespace}
          - {source_labels: [__meta_kubernetes_pod_name], target_label: pod}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: prometheus, namespace: observability}
spec:
  selector: {matchLabels: {app: prometheus}}
  template:
    metadata: {labels: {app: prometheus}}
    spec:
      containers:
        - name: prometheus
          image: prom/prometheus
          command: [prometheus, --config.file=/etc/prometheus/prometheus.yml]
          ports: [{containerPort: 9090}]
          volumeMounts: [{name: config, mountPath: /etc/prometheus/prometheus.yml, subPath: prometheus.yml}]
      volumes: [{name: config, configMap: {name: prometheus}}]
---
apiVersion: v1
kind: Service
metadata: {name: prometheus, namespace: observability}
spec:
  selector: {app: prometheus}
  ports: [{port: 9090, targetPort: 9090}]
";

/// The adapter with a rule for every counter, its registration and its permissions.
pub(crate) const ADAPTER: &str = r#"
---
apiVersion: v1
kind: ConfigMap
metadata: {name: adapter, namespace: observability}
data:
  config.yaml: |
    rules:
      - seriesQuery: '{__name__!~"^container_.*",namespace!="",pod!=""}'
        resources: {template: <<.Resource>>}
        name: {matches: "^(.*)_total$", as: "${1}_per_second"}
        metricsQuery: sum(rate(<<.Series>>{<<.LabelMatchers>>}[2m])) by (<<.GroupBy>>)
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: adapter, namespace: observability}
spec:
  selector: {matchLabels: {app: adapter}}
  template:
    metadata: {labels: {app: adapter}}
    spec:
      serviceAccountName: adapter
      containers:
        - name: adapter
          image: registry.k8s.io/prometheus-adapter/prometheus-adapter
          args: [--secure-port=6443, --prometheus-url=http://prometheus.observability.svc:9090/, --config=/etc/adapter/config.yaml]
          ports: [{containerPort: 6443, name: https}]
          volumeMounts: [{name: config, mountPath: /etc/adapter/}]
      volumes: [{name: config, configMap: {name: adapter}}]
---
apiVersion: v1
kind: Service
metadata: {name: adapter, namespace: observability}
spec:
  selector: {app: adapter}
  ports: [{port: 443, targetPort: https}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.custom.metrics.k8s.io}
spec:
  group: custom.metrics.k8s.io
  version: v1beta1
  caBundle: LS0tLS1CRUdJTg==
  service: {name: adapter, namespace: observability}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: adapter, namespace: observability}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: adapter-reader}
rules: [{apiGroups: [""], resources: [pods, namespaces], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: adapter-reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: adapter-reader}
subjects: [{kind: ServiceAccount, name: adapter, namespace: observability}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: adapter-delegator}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: adapter, namespace: observability}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: adapter-auth-reader, namespace: kube-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader}
subjects: [{kind: ServiceAccount, name: adapter, namespace: observability}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: custom-metrics-reader}
rules: [{apiGroups: [custom.metrics.k8s.io], resources: ["*"], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: hpa-custom-metrics}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: custom-metrics-reader}
subjects: [{kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: kube-system}]
"#;

/// What a pod exports before the first request.
pub(crate) const METRICS: &str =
    "# TYPE orders_total counter\norders_total 0\n# TYPE queue_length gauge\nqueue_length 0\n";

/// The complete installation.
pub(crate) fn complete() -> String {
    [SHOP, PROMETHEUS, ADAPTER].concat()
}

/// Replaces a text that must be there.
pub(crate) fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "the fixture does not contain {from}");
    text.replace(from, to)
}

/// Diagnoses the only HPA of the manifests.
pub(crate) fn diagnose(manifests: &str, metrics: Option<&str>) -> Diagnosis {
    let objects = parse(manifests).expect("YAML");
    let mut chains = check(&Input::new(objects, "default", metrics));
    assert_eq!(chains.len(), 1, "one HPA");
    chains.remove(0)
}

/// Asserts the state of a link and a part of its detail or of its warnings.
pub(crate) fn assert_link(diagnosis: &Diagnosis, link: Link, state: LinkState, says: &str) {
    let report = diagnosis
        .links
        .iter()
        .find(|report| report.link == link)
        .expect("every link is reported");
    assert_eq!(report.state, state, "{link}: {diagnosis:#?}");
    let is_said =
        report.detail.contains(says) || report.warnings.iter().any(|warning| warning.contains(says));
    assert!(is_said, "{link} does not say {says:?}: {report:#?}");
}

/// Asserts that exactly this link is broken, for this reason.
pub(crate) fn assert_only_broken(diagnosis: &Diagnosis, link: Link, says: &str) {
    assert_link(diagnosis, link, LinkState::Broken, says);
    let broken = diagnosis
        .links
        .iter()
        .filter(|report| report.state == LinkState::Broken);
    assert_eq!(broken.count(), 1, "{diagnosis:#?}");
}
