//! The costs in docs/eks.md: the numbers are those of the manifests, and the sums are right.

use crate::{
    eks::{ZONES, free_pods_of_a_node},
    nodes::{ordinary_step, target},
    rendered::{Overlay, cluster, object, overlay},
};
use manifests::{
    objects::{list, text},
    render,
};
use serde_json::Value;
use std::fs;

/// The columns of the documentation: an environment, and whether it has ten times the ordinary load.
const COLUMNS: [(&str, bool); 4] = [("dev", false), ("dev", true), ("prod", false), ("prod", true)];

fn documentation() -> String {
    fs::read_to_string(render::root().join("../docs/eks.md")).expect("readable")
}

/// The rows of the tables with this number of columns, without the head of a table.
fn rows(columns: usize) -> Vec<Vec<String>> {
    let documentation = documentation();
    let (_, costs) = documentation.split_once("## What it costs").expect("the section");
    let (costs, _) = costs.split_once("\n## ").expect("the next section");
    costs
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
        .filter(|cells: &Vec<String>| cells.len() == columns && cells[0] != "step" && cells[0] != "---")
        .collect()
}

fn number(cell: &str) -> f64 {
    cell.parse()
        .unwrap_or_else(|_| panic!("{cell:?} is not a number"))
}

/// Whether a number in the documentation is the given one, as exactly as it is written there.
fn expect_number(cell: &str, value: f64, what: &str) {
    let decimals = cell.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    assert_eq!(cell, format!("{value:.decimals$}"), "{what}");
}

#[test]
fn the_sums_are_right() {
    let items = rows(7);
    assert!(items.len() > 10, "{items:?}");
    for (column, (environment, _)) in COLUMNS.iter().enumerate() {
        let cost = |step: &str| -> f64 {
            let of_step = items.iter().filter(|row| step.is_empty() || row[0] == step);
            of_step
                .map(|row| number(&row[2]) * number(&row[3 + column]))
                .sum()
        };
        let mut seen = 0;
        for row in rows(5) {
            let expected = match row[0].as_str() {
                "sum per hour" => cost(""),
                "sum per month of 730 hours" => cost("") * 730.0,
                step => cost(step.split('.').next().expect("a step")),
            };
            seen += 1;
            expect_number(&row[1 + column], expected, &format!("{}, {environment}", row[0]));
        }
        assert_eq!(seen, 4);
    }
}

/// The pods of the pair and of the headroom under a load.
struct Pods {
    app_a: u64,
    app_b: u64,
    headroom: u64,
}

impl Pods {
    fn at(overlay: &'static Overlay, load: u64) -> Self {
        let headroom = object(overlay, "Deployment", "sample-app", "headroom");
        let pods = |app: &str| {
            let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", app);
            let least = hpa["spec"]["minReplicas"].as_u64().expect("a number");
            load.div_ceil(target(overlay, app)).max(least)
        };
        Self {
            app_a: pods("app-a"),
            // Every request calls app-b too.
            app_b: pods("app-b"),
            headroom: headroom["spec"]["replicas"].as_u64().expect("a number"),
        }
    }

    /// The nodes that they need: one in each zone that has a pod, and enough for all of them.
    fn nodes(&self, overlay: &'static Overlay) -> u64 {
        let all = self.app_a + self.app_b + self.headroom;
        let enough = all.div_ceil(free_pods_of_a_node(overlay));
        self.app_a.min(ZONES).max(enough)
    }
}

/// Otherwise `loadtest scale --nodes` fails, because no node is added.
#[test]
fn the_step_of_load_in_the_documentation_needs_another_node() {
    for (environment, replicas) in [("dev", 24), ("prod", 36)] {
        let overlay = overlay(environment);
        assert!(documentation().contains(&format!("--replicas {replicas} ")));
        let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", "app-a");
        assert!(replicas <= hpa["spec"]["maxReplicas"].as_u64().expect("a number"));
        // The pods of the headroom give way.
        let rest = Pods::at(overlay, 0);
        let room = rest.nodes(overlay) * free_pods_of_a_node(overlay);
        assert!(
            replicas + rest.app_b > room,
            "{environment}: room for {room} pods"
        );
    }
}

#[test]
fn each_step_says_what_it_costs() {
    let documentation = documentation();
    let (_, steps) = documentation.split_once("## The steps").expect("the section");
    let (steps, _) = steps.split_once("\n## ").expect("the next section");
    let steps: Vec<_> = steps.split("\n### ").skip(1).collect();
    assert_eq!(steps.len(), 9);
    for step in steps {
        let (title, text) = step.split_once('\n').expect("a text");
        assert!(text.starts_with("\nCosts: "), "{title}");
    }
}

#[test]
#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn the_numbers_are_those_of_the_manifests() {
    for row in rows(7) {
        for (column, (environment, is_loaded)) in COLUMNS.iter().enumerate() {
            let overlay = overlay(environment);
            let load = if *is_loaded {
                10 * ordinary_step(overlay)
            } else {
                0
            };
            let cluster = cluster(environment);
            let group = &cluster["managedNodeGroups"][0];
            let system = group["desiredCapacity"].as_u64().expect("a number");
            let zones = list(cluster, "/availabilityZones").len() as u64;
            let gateways = match text(cluster, "/vpc/nat/gateway") {
                "HighlyAvailable" => zones,
                _ => 1,
            };
            let nodes = Pods::at(overlay, load).nodes(overlay);
            let gigabytes = |bytes_of_a_request: f64| load as f64 * bytes_of_a_request * 3600.0 / 1e9;
            let expected = match (row[0].as_str(), row[1].as_str()) {
                (_, "control plane" | "load balancer") => 1.0,
                ("4", "node of the system, m6i.large" | "its volume, 20 GiB of gp3") => system as f64,
                (_, "NAT gateway" | "its public address") => gateways as f64,
                (_, "its public addresses") => zones as f64,
                // 10 requests on a connection, 25 new connections per second.
                (_, "its capacity units") => load.div_ceil(10 * 25) as f64,
                ("7", "node of Karpenter, c6i.large" | "its volume, 20 GiB of gp3") => nodes as f64,
                (_, "GB to the clients") => gigabytes(500.0),
                (_, "GB between the zones") => gigabytes(1000.0 * 2.0 / 3.0),
                (_, "GB of access logs, kept for 30 days") => gigabytes(100.0),
                (_, item) if item.ends_with("(an estimate)") => continue,
                (step, item) => panic!("unknown item {item} of step {step}"),
            };
            expect_number(
                &row[3 + column],
                expected,
                &format!("{}, {environment}, load {load}", row[1]),
            );
        }
    }
    let types = |environment| cluster(environment)["managedNodeGroups"][0]["instanceType"].clone();
    assert_eq!(
        ["dev", "prod"].map(types),
        [Value::from("m6i.large"), Value::from("m6i.large")]
    );
}
