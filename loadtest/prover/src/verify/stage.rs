//! The stages of the delivery, and the tests that each of them contains.

use std::{fmt, time::Duration};

use schemars::JsonSchema;
use serde::Serialize;

/// A stage of the delivery that deploys to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStage {
    /// A cluster on one machine.
    Local,
    /// The cluster for development and tests.
    Dev,
    /// The production cluster.
    Prod,
}

impl DeliveryStage {
    /// All stages, in the order of the delivery.
    pub const ALL: [Self; 3] = [Self::Local, Self::Dev, Self::Prod];

    /// Returns the name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Dev => "dev",
            Self::Prod => "prod",
        }
    }

    /// Returns the tests, in the order in which they run.
    #[must_use]
    pub fn tests(self) -> &'static [Test] {
        match self {
            Self::Local => &[Test::Apply, Test::HelloHttp, Test::JobsHttps],
            Self::Dev => &[
                Test::Apply,
                Test::HelloHttp,
                Test::JobsHttps,
                Test::PodsScale,
                Test::NodesScale,
                Test::ResponseTime,
            ],
            Self::Prod => &[Test::Apply, Test::Urls, Test::Settled, Test::Spread],
        }
    }
}

/// The time to apply on a cluster whose images and nodes are there. It is twice the `progressDeadlineSeconds` of the
/// Deployments (120 s), and a minute for kubectl.
const APPLY: Duration = Duration::from_mins(5);

/// The time to apply where a new pod may need a new node. A launch that fails is given up after 5 minutes.
const APPLY_WITH_NODES: Duration = Duration::from_mins(15);

/// The time until the pair answers where kube-proxy alone routes to it: it follows a ready pod within seconds.
const ANSWER: Duration = Duration::from_secs(30);

/// The time until the pair answers where the first deployment also creates a load balancer and its DNS name.
const ANSWER_OF_LOAD_BALANCER: Duration = Duration::from_mins(5);

/// The time for the whole proof of scaling. Its phases have deadlines of their own, which are shorter in sum: about 9
/// minutes, with nodes about 35.
const PROOF: Duration = Duration::from_mins(45);

/// Ten windows of 30 s. A stable deployment needs two, and a canary one.
const SETTLED: Duration = Duration::from_mins(5);

/// The time until pods that are still moving or terminating after a rollout are gone: twice their grace period.
const SPREAD: Duration = Duration::from_mins(1);

/// The time until a canary is ready: the `progressDeadlineSeconds` of the Deployments, which is four times the startup probe.
const CANARY_STARTS: Duration = Duration::from_mins(2);

/// The same where the canary may need a new node. A launch that fails is given up after 5 minutes.
const CANARY_STARTS_WITH_NODES: Duration = Duration::from_mins(10);

/// The time to ask a canary, which is ready, 140 times: a second on the testbed. A wrong answer is asked for until then.
const CANARY_ANSWERS: Duration = Duration::from_secs(20);

/// The time to ask it 20 times more, and until the custom metrics have it: four scrapes of 15 s.
const CANARY_COUNTS: Duration = Duration::from_mins(1);

/// A test of the stage table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Test {
    /// `kubectl apply` exits with 0, and every Deployment that it applied becomes available.
    Apply,
    /// `GET /hello` over HTTP.
    HelloHttp,
    /// `PUT /jobs` over HTTPS.
    JobsHttps,
    /// Pods follow the load, and the custom metric has the values that were sent.
    PodsScale,
    /// Nodes come and go with the load, and the node autoscaler reports it.
    NodesScale,
    /// The average response time at scale.
    ResponseTime,
    /// URLs and their content.
    Urls,
    /// Response time and load settle after the deployment.
    Settled,
    /// Pods are spread over zones and regions.
    Spread,
    /// A canary becomes ready.
    CanaryStarts,
    /// A canary answers its wire contract.
    CanaryUrls,
    /// A canary exports what scaling needs.
    CanaryMetrics,
    /// A canary is as good as the stable pods under load.
    CanaryLoad,
}

impl Test {
    /// The tests of the stages, in the order of the stage table.
    pub const ALL: [Self; 9] = [
        Self::Apply,
        Self::HelloHttp,
        Self::JobsHttps,
        Self::PodsScale,
        Self::NodesScale,
        Self::ResponseTime,
        Self::Urls,
        Self::Settled,
        Self::Spread,
    ];

    /// The tests of a canary, in the order in which they run. They belong to every stage, and replace its own tests.
    pub const CANARY: [Self; 4] = [
        Self::CanaryStarts,
        Self::CanaryUrls,
        Self::CanaryMetrics,
        Self::CanaryLoad,
    ];

    /// Returns the name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::HelloHttp => "hello-http",
            Self::JobsHttps => "jobs-https",
            Self::PodsScale => "pods-scale",
            Self::NodesScale => "nodes-scale",
            Self::ResponseTime => "response-time",
            Self::Urls => "urls",
            Self::Settled => "settled",
            Self::Spread => "spread",
            Self::CanaryStarts => "canary-starts",
            Self::CanaryUrls => "canary-urls",
            Self::CanaryMetrics => "canary-metrics",
            Self::CanaryLoad => "canary-load",
        }
    }

    /// Returns the condition that the test checks, as a sentence without a full stop.
    #[must_use]
    pub fn checks(self) -> &'static str {
        match self {
            Self::Apply => {
                "kubectl apply exits with 0, and every Deployment of the overlay becomes available with its new pods"
            }
            Self::HelloHttp => {
                "GET /hello over HTTP answers 200 with `Hello there`, as text/html; charset=utf-8"
            }
            Self::JobsHttps => "PUT /jobs over HTTPS with the token answers 200 with the jobs",
            Self::PodsScale => {
                "the custom metric has the values that were sent, and the pods of the ReplicaSet follow the load, out and in"
            }
            Self::NodesScale => {
                "nodes come for the pods and go after them, and the node autoscaler reports both at events.k8s.io/v1"
            }
            Self::ResponseTime => {
                "the average response time at scale is within the objective, at the custom metrics API and in the load tool, and they agree"
            }
            Self::Urls => "each URL answers with its status and its content",
            Self::Settled => "response time, load and replicas stay the same over two consecutive windows",
            Self::Spread => {
                "the ready pods of each Deployment are spread over the zones, and over the regions"
            }
            Self::CanaryStarts => "the canary becomes ready without a restart",
            Self::CanaryUrls => {
                "the canary, asked directly, answers each URL with its status and its content"
            }
            Self::CanaryMetrics => {
                "the canary counts its requests, answers fast enough, and its HPA sees it in the custom metrics"
            }
            Self::CanaryLoad => {
                "under load, the canary fails no more requests than the stable pods, and takes no longer"
            }
        }
    }

    /// Returns the default deadline.
    #[must_use]
    pub fn deadline(self, stage: DeliveryStage) -> Duration {
        let is_local = stage == DeliveryStage::Local;
        match self {
            Self::Apply if is_local => APPLY,
            Self::Apply => APPLY_WITH_NODES,
            Self::HelloHttp | Self::JobsHttps if is_local => ANSWER,
            Self::HelloHttp | Self::JobsHttps | Self::Urls => ANSWER_OF_LOAD_BALANCER,
            Self::PodsScale | Self::NodesScale | Self::ResponseTime => PROOF,
            Self::Settled | Self::CanaryLoad => SETTLED,
            Self::Spread => SPREAD,
            // As for `apply`: its image is pulled, and it may need a node.
            Self::CanaryStarts if is_local => CANARY_STARTS,
            Self::CanaryStarts => CANARY_STARTS_WITH_NODES,
            Self::CanaryUrls => CANARY_ANSWERS,
            Self::CanaryMetrics => CANARY_COUNTS,
        }
    }

    /// Returns whether the test judges the one proof of scaling of its stage.
    #[must_use]
    pub fn needs_proof(self) -> bool {
        matches!(self, Self::PodsScale | Self::NodesScale | Self::ResponseTime)
    }
}

impl fmt::Display for Test {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stage table of the delivery: dev contains all of local.
    #[test]
    fn the_stages_contain_the_tests_of_the_stage_table() {
        let names = |stage: DeliveryStage| stage.tests().iter().map(|test| test.name()).collect::<Vec<_>>();
        let local = ["apply", "hello-http", "jobs-https"];
        assert_eq!(names(DeliveryStage::Local), local);
        let of_dev = ["pods-scale", "nodes-scale", "response-time"];
        assert_eq!(names(DeliveryStage::Dev), [&local[..], &of_dev].concat());
        assert_eq!(names(DeliveryStage::Prod), ["apply", "urls", "settled", "spread"]);
    }

    #[test]
    fn every_test_belongs_to_a_stage_and_is_named_as_in_the_reports() {
        for test in Test::ALL {
            let stages = DeliveryStage::ALL.into_iter();
            assert!(
                stages.into_iter().any(|stage| stage.tests().contains(&test)),
                "{test}"
            );
        }
        for test in [&Test::ALL[..], &Test::CANARY].concat() {
            assert_eq!(serde_json::to_value(test).unwrap(), test.name());
        }
    }
}
