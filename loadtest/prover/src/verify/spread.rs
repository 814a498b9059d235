//! The test `spread`: the ready pods of each Deployment with an HPA are spread over the zones, and over the regions.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::{Instant, sleep};

use super::outcome::Judgement;
use crate::cluster::{Cluster, NodePlace, PodState, ReadError};

/// The time between two looks at the pods.
const POLL: Duration = Duration::from_secs(1);

/// The parameters of the test.
#[derive(Clone, Debug)]
pub struct SpreadOptions {
    /// The namespace of the Deployments.
    pub namespace: String,
    /// The largest difference in ready pods between two zones of a region.
    pub max_skew: usize,
    /// The smallest number of zones with a ready pod, in each region.
    pub min_zones: usize,
    /// The largest difference in ready pods between two regions; `None` for any. Each region needs a ready pod in any case.
    pub max_region_skew: Option<usize>,
}

/// A cluster, and the name that stands for its region if its nodes have no region label.
#[derive(Clone)]
pub struct RegionCluster {
    /// The context of the kubeconfig.
    pub context: String,
    /// The cluster.
    pub cluster: Cluster,
}

/// The ready pods of one Deployment by region and zone. A zone that could take pods has an entry, even without a pod.
type Placement = BTreeMap<String, BTreeMap<String, usize>>;

/// Waits until the pods are spread.
pub async fn spread(clusters: &[RegionCluster], options: &SpreadOptions, deadline: Instant) -> Judgement {
    loop {
        let judged = match placements(clusters, &options.namespace).await {
            Ok(placements) => judge(&placements, options),
            Err(error) => Judgement::failed("the pods and nodes cannot be read", error.to_string()),
        };
        if judged.failure.is_none() || Instant::now() + POLL > deadline {
            return judged;
        }
        sleep(POLL).await;
    }
}

/// Returns the placement of each Deployment.
async fn placements(
    clusters: &[RegionCluster],
    namespace: &str,
) -> Result<BTreeMap<String, Placement>, ReadError> {
    let mut all: BTreeMap<String, Placement> = BTreeMap::new();
    for RegionCluster { context, cluster } in clusters {
        let places = cluster.node_places().await?;
        for hpa in cluster.hpas(namespace).await? {
            let deployment = &hpa.target_name;
            let workload = cluster.workload(namespace, deployment).await?;
            let missing = || ReadError(format!("{context}: the Deployment {deployment} does not exist"));
            let pods = cluster
                .pods(namespace, &workload.ok_or_else(missing)?.selector)
                .await?;
            let placement = all.entry(deployment.clone()).or_default();
            add(placement, context, &places, &pods);
        }
    }
    Ok(all)
}

/// Counts the ready pods of a cluster.
fn add(placement: &mut Placement, context: &str, places: &[NodePlace], pods: &[PodState]) {
    let region = |place: &NodePlace| place.region.clone().unwrap_or_else(|| context.to_owned());
    let zone = |place: &NodePlace| place.zone.clone().unwrap_or_else(|| "no zone".to_owned());
    for place in places.iter().filter(|place| place.takes_pods) {
        placement
            .entry(region(place))
            .or_default()
            .entry(zone(place))
            .or_default();
    }
    for pod in pods.iter().filter(|pod| pod.ready && !pod.terminating) {
        let place = places.iter().find(|place| Some(&place.name) == pod.node.as_ref());
        if let Some(place) = place {
            *placement
                .entry(region(place))
                .or_default()
                .entry(zone(place))
                .or_default() += 1;
        }
    }
}

/// Judges the placements. Pure.
fn judge(placements: &BTreeMap<String, Placement>, options: &SpreadOptions) -> Judgement {
    if placements.is_empty() {
        let reason = format!("no Deployment in {} has an HPA", options.namespace);
        return Judgement::failed(reason, "there are no pods to judge");
    }
    let mut reasons = Vec::new();
    let mut seen = Vec::new();
    let mut figures = Judgement::default();
    for (deployment, placement) in placements {
        seen.push(format!("{deployment}: {}", describe(placement)));
        reasons.extend(
            problems(placement, options)
                .into_iter()
                .map(|problem| format!("{deployment}: {problem}")),
        );
        for zones in placement.values() {
            for (zone, count) in zones {
                figures = figures.with(
                    format!("ready pods of {deployment} in {zone}"),
                    to_figure(*count),
                    "",
                );
            }
        }
    }
    let judged = if reasons.is_empty() {
        Judgement::passed(seen.join("; "))
    } else {
        Judgement::failed(reasons.join("; "), seen.join("; "))
    };
    Judgement {
        figures: figures.figures,
        ..judged
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of pods")]
fn to_figure(count: usize) -> f64 {
    count as f64
}

fn problems(placement: &Placement, options: &SpreadOptions) -> Vec<String> {
    let mut problems = Vec::new();
    for (region, zones) in placement {
        let used = zones.values().filter(|count| **count > 0).count();
        if used == 0 {
            problems.push(format!("no ready pod in {region}"));
            continue;
        }
        if used < options.min_zones {
            problems.push(format!(
                "{used} zones of {region} have a ready pod, fewer than {}",
                options.min_zones
            ));
        }
        let skew = skew(zones.values().copied());
        if skew > options.max_skew {
            problems.push(format!(
                "the skew over the zones of {region} is {skew}, more than {}",
                options.max_skew
            ));
        }
    }
    if let Some(most) = options.max_region_skew {
        let skew = skew(placement.values().map(|zones| zones.values().sum()));
        if skew > most {
            problems.push(format!("the skew over the regions is {skew}, more than {most}"));
        }
    }
    if placement.is_empty() {
        problems.push("no node takes pods".to_owned());
    }
    problems
}

/// Returns the difference between the largest and the smallest count, as `topologySpreadConstraints` defines the skew.
fn skew(counts: impl Iterator<Item = usize> + Clone) -> usize {
    let most = counts.clone().max().unwrap_or(0);
    most - counts.min().unwrap_or(0)
}

fn describe(placement: &Placement) -> String {
    let regions = placement.iter().map(|(region, zones)| {
        let zones: Vec<String> = zones
            .iter()
            .map(|(zone, count)| format!("{zone} {count}"))
            .collect();
        format!("{region} ({})", zones.join(", "))
    });
    regions.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SpreadOptions {
        SpreadOptions {
            namespace: "sample-app".to_owned(),
            max_skew: 1,
            min_zones: 2,
            max_region_skew: None,
        }
    }

    fn place(name: &str, zone: &str, region: Option<&str>) -> NodePlace {
        NodePlace {
            name: name.to_owned(),
            zone: Some(zone.to_owned()),
            region: region.map(str::to_owned),
            takes_pods: true,
        }
    }

    fn pod(node: &str) -> PodState {
        PodState {
            ready: true,
            node: Some(node.to_owned()),
            ..PodState::default()
        }
    }

    /// Judges app-a with these pods on nodes 1 to 3 in the zones a to c of one region.
    fn judged(change: impl FnOnce(&mut Vec<NodePlace>, &mut Vec<PodState>, &mut SpreadOptions)) -> Judgement {
        let mut places = vec![
            place("1", "a", Some("r")),
            place("2", "b", Some("r")),
            place("3", "c", Some("r")),
        ];
        let mut pods = vec![pod("1"), pod("2"), pod("3"), pod("1")];
        let mut options = options();
        change(&mut places, &mut pods, &mut options);
        let mut placement = Placement::new();
        add(&mut placement, "eu", &places, &pods);
        judge(&BTreeMap::from([("app-a".to_owned(), placement)]), &options)
    }

    #[test]
    fn a_skew_of_one_passes_and_an_empty_zone_counts() {
        let spread = judged(|_, _, _| ());
        assert_eq!(spread.failure, None);
        assert_eq!(spread.seen, "app-a: r (a 2, b 1, c 1)");
        assert_eq!(spread.figures.len(), 3);
        // Two pods on three zones are as even as possible.
        assert_eq!(judged(|_, pods, _| pods.truncate(2)).failure, None);
        let skewed = judged(|_, pods, _| pods.retain(|pod| pod.node.as_deref() != Some("3")));
        assert_eq!(
            skewed.failure.as_deref(),
            Some("app-a: the skew over the zones of r is 2, more than 1")
        );
        assert_eq!(skewed.seen, "app-a: r (a 2, b 1, c 0)");
    }

    #[test]
    fn pods_that_do_not_serve_and_nodes_that_take_no_pods_do_not_count() {
        let unready = judged(|_, pods, _| {
            pods[1].ready = false;
            pods[2].terminating = true;
        });
        assert!(
            unready
                .failure
                .unwrap()
                .contains("1 zones of r have a ready pod, fewer than 2")
        );
        // A zone whose only node is cordoned is no place for a pod.
        let cordoned = judged(|places, pods, _| {
            places[2].takes_pods = false;
            pods.retain(|pod| pod.node.as_deref() != Some("3"));
        });
        assert_eq!(cordoned.failure, None, "{}", cordoned.seen);
    }

    #[test]
    fn a_region_without_a_pod_fails_and_the_skew_over_regions_only_on_request() {
        let two_regions = |most| {
            judged(move |places, pods, options| {
                places.extend([place("4", "d", Some("s")), place("5", "e", Some("s"))]);
                pods.extend([pod("4"), pod("5")]);
                options.max_region_skew = most;
            })
        };
        assert_eq!(two_regions(None).failure, None);
        let skewed = two_regions(Some(1));
        assert!(
            skewed
                .failure
                .unwrap()
                .contains("the skew over the regions is 2, more than 1")
        );
        let empty = judged(|places, _, _| places.push(place("4", "d", Some("s"))));
        assert_eq!(empty.failure.as_deref(), Some("app-a: no ready pod in s"));
        // Without labels, the context is the region.
        let unlabelled = judged(|places, _, _| places.iter_mut().for_each(|place| place.region = None));
        assert_eq!(unlabelled.seen, "app-a: eu (a 2, b 1, c 1)");
    }

    #[test]
    fn nothing_to_judge_is_a_failure() {
        assert!(
            judge(&BTreeMap::new(), &options())
                .failure
                .unwrap()
                .contains("no Deployment")
        );
        let no_node = judged(|places, pods, _| {
            places.clear();
            pods.clear();
        });
        assert!(no_node.failure.unwrap().contains("no node takes pods"));
    }
}
