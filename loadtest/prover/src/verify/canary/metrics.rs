//! The test `canary-metrics`: each canary counts its requests where scaling reads them, and its HPA sees it.

use std::time::Duration;

use engine::units::short;
use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::{
    again::until_answered,
    counters::Counters,
    forward::Forward,
    options::{BACKEND, Canary, CanaryOptions, combine},
};
use crate::{
    cluster::{CANARY_SELECTOR, Cluster, Hpa, ServingPod},
    verify::{
        outcome::Judgement,
        requests::{Check, Client},
        wire_contract::status_check,
    },
};

/// The time between two reads of the custom metrics API.
const POLL: Duration = Duration::from_secs(1);

/// The number of requests that the canary must count.
const REQUESTS: u32 = 20;

/// Sends requests to every canary directly, and looks whether it counts them.
pub async fn canary_metrics(
    cluster: &Cluster,
    options: &CanaryOptions,
    client: &Client,
    deadline: Instant,
) -> Judgement {
    let mut judged = Vec::new();
    for canary in &options.canaries {
        let test = Test {
            cluster,
            options,
            canary,
            deadline,
        };
        judged.push((canary, test.run(client).await.unwrap_or_else(|failed| failed)));
    }
    combine(judged)
}

struct Test<'a> {
    cluster: &'a Cluster,
    options: &'a CanaryOptions,
    canary: &'a Canary,
    deadline: Instant,
}

impl Test<'_> {
    async fn run(&self, client: &Client) -> Result<Judgement, Judgement> {
        let pod = self.pod().await?;
        let before = self.read(&pod).await?;
        self.send(client, &pod).await?;
        let after = self.read(&pod).await?;
        let counted = after.since(&before).map_or(0.0, |grown| grown.requests);
        if counted < f64::from(REQUESTS) {
            return Err(Judgement::failed(
                format!("{} does not count the requests", self.options.series),
                format!("it grew by {} in {REQUESTS} requests", short(counted)),
            ));
        }
        // Since its start: those of `canary-urls` too. They are few and come one after the other, so a slow one is the canary's own.
        let average = after.average_ms().unwrap_or_default();
        let text = format!("it counts requests; average response time {} ms", short(average));
        if average > self.options.objective_ms {
            let objective = short(self.options.objective_ms);
            return Err(Judgement::failed(
                format!("the average response time exceeds {objective} ms (--objective)"),
                text,
            ));
        }
        let sees = self.hpa_sees().await?;
        Ok(Judgement::passed(format!("{text}; {sees}")).with("average response time", average, "ms"))
    }

    async fn pod(&self) -> Result<ServingPod, Judgement> {
        let read = async || {
            let (namespace, name) = (&self.options.namespace, &self.canary.pod);
            self.cluster.serving_pod(namespace, name).await
        };
        let found = until_answered(self.deadline, read).await;
        let pod = found.map_err(|error| Judgement::failed("the canary cannot be read", error))?;
        pod.ok_or_else(|| Judgement::failed("the canary does not exist any more", String::new()))
    }

    async fn read(&self, pod: &ServingPod) -> Result<Counters, Judgement> {
        let failed = |error: String| Judgement::failed("/metrics of the canary cannot be used", error);
        let port = pod
            .admin_port
            .ok_or_else(|| failed("it has no port named admin".to_owned()))?;
        let port = port.to_string();
        let read = async || {
            let (namespace, name) = (&self.options.namespace, &self.canary.pod);
            self.cluster.pod_metrics(namespace, name, &port).await
        };
        let page = until_answered(self.deadline, read).await.map_err(failed)?;
        // A page that lacks the series is an answer.
        Counters::parse(&page, &self.options.series).map_err(failed)
    }

    async fn send(&self, client: &Client, pod: &ServingPod) -> Result<(), Judgement> {
        let failed = |error: String| Judgement::failed("the canary cannot be asked directly", error);
        let port = pod
            .http_port
            .ok_or_else(|| failed("it has no port named http".to_owned()))?;
        let forward = Forward::open(self.options, &self.canary.pod, port, self.deadline);
        let base = forward.await.map_err(failed)?;
        let check = request(&self.canary.deployment, &base.url()).map_err(failed)?;
        for _ in 0..REQUESTS {
            if Instant::now() > self.deadline {
                return Err(failed("the deadline came before the last request".to_owned()));
            }
            client.expect(&check).await.map_err(failed)?;
        }
        Ok(())
    }

    /// Waits until the metric of the HPA has a value for the canary: Prometheus scrapes it, and the rule of the adapter applies.
    async fn hpa_sees(&self) -> Result<String, Judgement> {
        let hpa = self.hpa().await?;
        let Some(metric) = &hpa.metric else {
            return Ok(format!("its HPA {} has no metric of pods", hpa.name));
        };
        let wanted = &metric.name;
        loop {
            let found = self
                .cluster
                .pod_samples(&self.options.namespace, metric, CANARY_SELECTOR)
                .await;
            let problem = match found {
                Ok(samples) if samples.iter().any(|sample| sample.pod == self.canary.pod) => {
                    return Ok(format!("{wanted} has a value for it"));
                }
                Ok(_) => "no value for this pod".to_owned(),
                Err(error) => error.to_string(),
            };
            if Instant::now() + POLL > self.deadline {
                return Err(Judgement::failed(
                    format!("the HPA {} does not see the canary in {wanted}", hpa.name),
                    problem,
                ));
            }
            sleep(POLL).await;
        }
    }

    async fn hpa(&self) -> Result<Hpa, Judgement> {
        let read = async || self.cluster.hpas(&self.options.namespace).await;
        let hpas = until_answered(self.deadline, read).await;
        let hpas = hpas.map_err(|error| Judgement::failed("the HPAs cannot be read", error))?;
        let scaled = hpas
            .into_iter()
            .find(|hpa| hpa.target_name == self.canary.deployment);
        scaled.ok_or_else(|| Judgement::failed("no HPA scales the Deployment", String::new()))
    }
}

/// A request that the canary answers itself.
fn request(deployment: &str, base: &str) -> Result<Check, String> {
    if deployment == BACKEND {
        status_check(base, Method::GET, "/auth", StatusCode::METHOD_NOT_ALLOWED)
    } else {
        status_check(base, Method::GET, "/hello", StatusCode::OK)
    }
}
