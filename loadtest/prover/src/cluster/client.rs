//! The client of a cluster: reads Kubernetes objects, custom metrics and Prometheus.

use std::{collections::BTreeMap, error::Error as StdError};

use anyhow::Context;
use engine::BadConfiguration;
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        autoscaling::v2::HorizontalPodAutoscaler,
        core::v1::{Node, Pod},
        events::v1::Event,
    },
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};

use super::{
    metrics::{
        CUSTOM_METRICS, EXTERNAL_METRICS, ExternalMetricValueList, ExternalValue, MetricValueList, PodSample,
        PrometheusService, QueryAnswer, Series, TargetsAnswer,
    },
    nodes::NodeState,
    pods::PodState,
    read::{READ_TIMEOUT, ReadError, ReadResult, read, request, with_causes},
    views::{ApiRegistration, ClusterEvent, ExternalMetric, Hpa, PodsMetric, Workload},
    watch::Watch,
};

/// The maximum number of events in one read.
const MAX_EVENTS_PER_READ: u32 = 500;

/// A client of the API server of one cluster.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
}

impl Cluster {
    /// Connects to the cluster of the kubeconfig's `context`. With `None`, connects to the cluster of the current
    /// context (from `KUBECONFIG` or `~/.kube/config`), or, inside a pod, to the pod's own cluster.
    ///
    /// # Errors
    /// Returns [`BadConfiguration`] if there is no usable kubeconfig, or if the cluster does not answer.
    pub async fn connect(context: Option<&str>) -> anyhow::Result<Self> {
        let mut config = match context {
            Some(name) => {
                let options = KubeConfigOptions {
                    context: Some(name.to_owned()),
                    ..KubeConfigOptions::default()
                };
                let kubeconfig = Kubeconfig::read()
                    .map_err(|error| bad_configuration("the kubeconfig cannot be read", &error))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| {
                        bad_configuration(&format!("the context {name} cannot be used"), &error)
                    })?
            }
            None => Config::infer().await.map_err(|error| {
                bad_configuration("no cluster is configured (KUBECONFIG, --context)", &error)
            })?,
        };
        // The caller reports a 503. A silent retry would only delay the report.
        config.default_retry = false;
        config.connect_timeout = Some(READ_TIMEOUT);
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config).context("creating the Kubernetes client")?;
        read(client.apiserver_version()).await.map_err(|error| {
            BadConfiguration::new(format!("the cluster at {address} does not answer: {error}"))
        })?;
        Ok(Self { client })
    }

    /// Creates a cluster client from an existing Kubernetes client.
    #[must_use]
    pub fn from_client(client: Client) -> Self {
        Self { client }
    }

    /// Returns the `HorizontalPodAutoscaler` with this name, or `None` if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn hpa(&self, namespace: &str, name: &str) -> ReadResult<Option<Hpa>> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), namespace);
        Ok(read(api.get_opt(name)).await?.map(Hpa::from))
    }

    /// Returns the Deployment with this name, or `None` if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn workload(&self, namespace: &str, name: &str) -> ReadResult<Option<Workload>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        Ok(read(api.get_opt(name)).await?.map(Workload::from))
    }

    /// Returns the pods that match a label selector and have not finished.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn pods(&self, namespace: &str, selector: &str) -> ReadResult<Vec<PodState>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = read(api.list(&ListParams::default().labels(selector))).await?;
        Ok(pods.items.into_iter().filter_map(PodState::of).collect())
    }

    /// Watches the pods that match a label selector and have not finished.
    #[must_use]
    pub fn watch_pods(&self, namespace: &str, selector: &str) -> Watch<PodState> {
        let api = |client| Api::namespaced(client, namespace);
        Watch::start(&self.client, api, Some(selector), PodState::of)
    }

    /// Watches all nodes of the cluster.
    #[must_use]
    pub fn watch_nodes(&self) -> Watch<NodeState> {
        Watch::start(&self.client, Api::all, None, |node: Node| Some(node.into()))
    }

    /// Reads `/metrics` of a pod's port through the API server's proxy, and returns the text.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the API server does not reach the pod.
    pub(crate) async fn pod_metrics(&self, namespace: &str, pod: &str, port: &str) -> ReadResult<String> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        read(self.client.request_text(request(&path)?)).await
    }

    /// Returns the `APIService` of an API, such as `custom.metrics.k8s.io/v1beta1`, or `None` if it does not exist.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn registration(&self, group_version: &str) -> ReadResult<Option<ApiRegistration>> {
        let api: Api<APIService> = Api::all(self.client.clone());
        let name = registration_name(group_version);
        Ok(read(api.get_opt(&name)).await?.map(ApiRegistration::from))
    }

    /// Returns the values of an external metric, one for each set of labels that matches its selector.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the adapter does not serve the metric.
    pub async fn external_values(
        &self,
        namespace: &str,
        metric: &ExternalMetric,
    ) -> ReadResult<Vec<ExternalValue>> {
        let selector = metric.selector.as_deref().unwrap_or_default();
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("labelSelector", selector)
            .finish();
        let path = format!(
            "/apis/{EXTERNAL_METRICS}/namespaces/{namespace}/{}?{query}",
            metric.name
        );
        Ok(self.get_json::<ExternalMetricValueList>(&path).await?.values())
    }

    /// Lists the resources of an API, to see whether it answers.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the API server does not reach the adapter.
    pub async fn call_api(&self, group_version: &str) -> ReadResult<()> {
        read(self.client.list_api_group_resources(group_version))
            .await
            .map(drop)
    }

    /// Returns the names of the pod metrics that the custom metrics API offers.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the API server does not reach the adapter.
    pub async fn pod_metric_names(&self) -> ReadResult<Vec<String>> {
        let list = read(self.client.list_api_group_resources(CUSTOM_METRICS)).await?;
        let names = list
            .resources
            .iter()
            .filter_map(|resource| resource.name.strip_prefix("pods/"));
        Ok(names.map(str::to_owned).collect())
    }

    /// Returns the values of a custom metric for the pods that match a label selector.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails, or if the adapter has no value for any pod.
    pub async fn pod_samples(
        &self,
        namespace: &str,
        metric: &PodsMetric,
        selector: &str,
    ) -> ReadResult<Vec<PodSample>> {
        let labels = metric
            .selector
            .as_ref()
            .map(|labels| ("metricLabelSelector", labels.as_str()));
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("labelSelector", selector)
            .extend_pairs(labels)
            .finish();
        let name = &metric.name;
        let path = format!("/apis/{CUSTOM_METRICS}/namespaces/{namespace}/pods/*/{name}?{query}");
        Ok(self.get_json::<MetricValueList>(&path).await?.samples())
    }

    /// Returns the events of a namespace, unordered.
    ///
    /// # Errors
    /// Returns an error if the request to the API server fails.
    pub async fn events(&self, namespace: &str) -> ReadResult<Vec<ClusterEvent>> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let events = read(api.list(&ListParams::default().limit(MAX_EVENTS_PER_READ))).await?;
        Ok(events.items.into_iter().filter_map(ClusterEvent::of).collect())
    }

    /// Sends an instant query to Prometheus through the API server's proxy.
    pub(crate) async fn prometheus(
        &self,
        service: &PrometheusService,
        query: &str,
    ) -> ReadResult<Vec<Series>> {
        self.get_json::<QueryAnswer>(&service.query_path(query))
            .await?
            .series()
            .map_err(ReadError)
    }

    /// Returns the scrape intervals in seconds of the pods of a namespace, by the pod and the job, from the targets of Prometheus.
    pub(crate) async fn scrape_intervals(
        &self,
        service: &PrometheusService,
        namespace: &str,
    ) -> ReadResult<BTreeMap<(String, String), f64>> {
        let answer = self.get_json::<TargetsAnswer>(&service.targets_path()).await?;
        Ok(answer.intervals(namespace))
    }

    async fn get_json<T: serde::de::DeserializeOwned>(&self, path: &str) -> ReadResult<T> {
        read(self.client.request(request(path)?)).await
    }
}

/// Returns the name of the `APIService` of an API: `v1beta1.custom.metrics.k8s.io` for `custom.metrics.k8s.io/v1beta1`.
pub(crate) fn registration_name(group_version: &str) -> String {
    let (group, version) = group_version.split_once('/').unwrap_or((group_version, ""));
    format!("{version}.{group}")
}

fn bad_configuration(what: &str, error: &dyn StdError) -> BadConfiguration {
    BadConfiguration::new(format!("{what}: {}", with_causes(error)))
}
