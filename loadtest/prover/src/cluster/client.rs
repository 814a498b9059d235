//! A cluster, and what is read from it.

use std::error::Error as StdError;

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
    metrics::{CUSTOM_METRICS, MetricValueList, PodSample, PrometheusService, QueryAnswer, Series},
    read::{PATIENCE, Read, ReadError, read, request, with_causes},
    views::{ApiRegistration, ClusterEvent, Hpa, NodeState, PodState, PodsMetric, Workload},
};

/// As many events as are read at a time.
const EVENTS_READ: u32 = 500;

/// A cluster, to be read from.
#[derive(Clone)]
pub struct Cluster {
    pub(super) client: Client,
}

impl Cluster {
    /// The cluster of `context`, or of the kubeconfig's current one (`KUBECONFIG`, `~/.kube/config`, or from inside a
    /// pod its own).
    ///
    /// # Errors
    /// [`BadConfiguration`] without a usable kubeconfig, or when the cluster does not answer.
    pub async fn connect(context: Option<&str>) -> anyhow::Result<Self> {
        let mut config = match context {
            Some(name) => {
                let options = KubeConfigOptions {
                    context: Some(name.to_owned()),
                    ..KubeConfigOptions::default()
                };
                let kubeconfig =
                    Kubeconfig::read().map_err(|error| wrong("the kubeconfig cannot be read", &error))?;
                Config::from_custom_kubeconfig(kubeconfig, &options)
                    .await
                    .map_err(|error| wrong(&format!("the context {name}"), &error))?
            }
            None => Config::infer()
                .await
                .map_err(|error| wrong("no cluster is configured (KUBECONFIG, --context)", &error))?,
        };
        // A 503 is a finding here: tried again in silence, it would only come late.
        config.default_retry = false;
        config.connect_timeout = Some(PATIENCE);
        let address = config.cluster_url.to_string();
        let client = Client::try_from(config).context("making a client for the cluster")?;
        read(client.apiserver_version()).await.map_err(|error| {
            BadConfiguration::new(format!("the cluster at {address} does not answer: {error}"))
        })?;
        Ok(Self { client })
    }

    /// A cluster behind a client of one's own.
    #[must_use]
    pub fn of(client: Client) -> Self {
        Self { client }
    }

    /// A `HorizontalPodAutoscaler`; `None` where there is none of the name.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn hpa(&self, namespace: &str, name: &str) -> Read<Option<Hpa>> {
        let api: Api<HorizontalPodAutoscaler> = Api::namespaced(self.client.clone(), namespace);
        Ok(read(api.get_opt(name)).await?.map(Hpa::from))
    }

    /// A Deployment; `None` where there is none of the name.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn workload(&self, namespace: &str, name: &str) -> Read<Option<Workload>> {
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        Ok(read(api.get_opt(name)).await?.map(Workload::from))
    }

    /// The pods of a selector.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn pods(&self, namespace: &str, selector: &str) -> Read<Vec<PodState>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pods = read(api.list(&ListParams::default().labels(selector))).await?;
        Ok(pods.items.into_iter().map(PodState::from).collect())
    }

    /// All nodes.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn nodes(&self) -> Read<Vec<NodeState>> {
        let api: Api<Node> = Api::all(self.client.clone());
        let nodes = read(api.list(&ListParams::default())).await?;
        Ok(nodes.items.into_iter().map(NodeState::from).collect())
    }

    /// What a pod itself says on a port under `/metrics`, through the API server.
    ///
    /// # Errors
    /// When the API server cannot be asked, or cannot ask the pod.
    pub(crate) async fn pod_metrics(&self, namespace: &str, pod: &str, port: &str) -> Read<String> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
        read(self.client.request_text(request(&path)?)).await
    }

    /// The registration of the custom metrics API; `None` where there is none.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn custom_metrics_registration(&self) -> Read<Option<ApiRegistration>> {
        let api: Api<APIService> = Api::all(self.client.clone());
        Ok(read(api.get_opt("v1beta1.custom.metrics.k8s.io"))
            .await?
            .map(ApiRegistration::from))
    }

    /// The names of the metrics that are offered for pods.
    ///
    /// # Errors
    /// When the API server cannot be asked, or cannot ask the adapter.
    pub async fn pod_metric_names(&self) -> Read<Vec<String>> {
        let list = read(self.client.list_api_group_resources(CUSTOM_METRICS)).await?;
        let names = list
            .resources
            .iter()
            .filter_map(|resource| resource.name.strip_prefix("pods/"));
        Ok(names.map(str::to_owned).collect())
    }

    /// The values of a metric for the pods of a selector.
    ///
    /// # Errors
    /// When the API server cannot be asked, or the adapter has no value for any pod.
    pub async fn pod_samples(
        &self,
        namespace: &str,
        metric: &PodsMetric,
        selector: &str,
    ) -> Read<Vec<PodSample>> {
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
        Ok(self.get::<MetricValueList>(&path).await?.samples())
    }

    /// The events of a namespace, in no order.
    ///
    /// # Errors
    /// When the API server cannot be asked.
    pub async fn events(&self, namespace: &str) -> Read<Vec<ClusterEvent>> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let events = read(api.list(&ListParams::default().limit(EVENTS_READ))).await?;
        Ok(events.items.into_iter().filter_map(ClusterEvent::of).collect())
    }

    /// An instant query to Prometheus, through the API server.
    pub(crate) async fn prometheus(&self, service: &PrometheusService, query: &str) -> Read<Vec<Series>> {
        self.get::<QueryAnswer>(&service.query_path(query))
            .await?
            .series()
            .map_err(ReadError)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Read<T> {
        read(self.client.request(request(path)?)).await
    }
}

fn wrong(what: &str, error: &dyn StdError) -> BadConfiguration {
    BadConfiguration::new(format!("{what}: {}", with_causes(error)))
}
