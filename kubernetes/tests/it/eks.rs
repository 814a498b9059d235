//! The overlays for EKS: what they share, their sizes, and that they fit their clusters.

use crate::{
    differences::differences,
    mutation::{expect_findings_in, mutation},
    nodes::{millicores, ordinary_step, target},
    rendered::{Overlay, cluster, object, on_eks, overlay, public, registry, schema},
};
use manifests::{
    objects::{list, of_kind, text},
    references, relations,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::Ipv4Addr};

/// The zones of each cluster.
pub(crate) const ZONES: u64 = 3;

/// The CPUs of the smallest instance that the pool allows.
const CPUS_OF_A_NODE: u64 = 2;

/// The pods of the smallest instance that the pool allows, such as c6i.large: three network interfaces with ten addresses each, of which
/// one is the interface's own, and two pods with the address of the node.
const PODS_OF_A_NODE: u64 = 3 * (10 - 1) + 2;

/// What the kubelet reserves on this instance, in thousandths of a CPU: 6 % of the first CPU and 1 % of the second.
const RESERVED: u64 = 60 + 10;

/// What the pods of each node request: aws-node with the agent for network policies 25m each, and kube-proxy 100m.
/// eks-pod-identity-agent requests nothing.
const PODS_OF_THE_NODE: u64 = 25 + 25 + 100;

/// Returns how many pods of the pair and of the headroom fit on this instance.
pub(crate) fn free_pods_of_a_node(overlay: &'static Overlay) -> u64 {
    let request = |name| millicores(object(overlay, "Deployment", "sample-app", name));
    let [one, other, headroom] = ["app-a", "app-b", "headroom"].map(request);
    assert_eq!((one, one), (other, headroom), "overlay {}", overlay.name);
    let by_cpu = (CPUS_OF_A_NODE * 1000 - RESERVED - PODS_OF_THE_NODE) / one;
    // aws-node, kube-proxy and eks-pod-identity-agent.
    by_cpu.min(PODS_OF_A_NODE - 3)
}

#[test]
fn dev_and_prod_differ_in_names_hosts_and_sizes_only() {
    let hpa = |app: &str, field: &str| format!("HorizontalPodAutoscaler sample-app/{app} /spec/{field}");
    let prometheus = |field: &str| {
        format!("Deployment monitoring/prometheus /spec/template/spec/containers/0/resources/{field}")
    };
    let expected = [
        // Names.
        "EC2NodeClass default /spec/role",
        "EC2NodeClass default /spec/securityGroupSelectorTerms/0/tags/aws:eks:cluster-name",
        "EC2NodeClass default /spec/subnetSelectorTerms/0/tags/alpha.eksctl.io~1cluster-name",
        // The bucket for access logs.
        "IngressClassParams public /spec/loadBalancerAttributes/3/value",
        // Hosts.
        "Ingress sample-app/app-a /spec/rules/0/host",
        "Ingress sample-app/app-a /spec/tls/0/hosts/0",
        // Sizes.
        "Deployment sample-app/headroom /metadata/annotations/sample-app~1ordinary-step",
        "Deployment sample-app/headroom /spec/replicas",
        "NodePool default /spec/limits/cpu",
        "NodePool default /spec/limits/nodes",
    ];
    let expected: BTreeSet<_> = expected
        .map(str::to_owned)
        .into_iter()
        .chain(["requests/cpu", "requests/memory", "limits/memory"].map(prometheus))
        .chain(["app-a", "app-b"].map(|app| hpa(app, "minReplicas")))
        .chain(["app-a", "app-b"].map(|app| hpa(app, "maxReplicas")))
        .collect();
    let [dev, prod] = on_eks();
    assert_eq!(differences(&dev.objects, &prod.objects), expected);
}

#[test]
fn each_overlay_has_the_names_of_its_cluster() {
    for overlay in on_eks() {
        let cluster = cluster(&overlay.name);
        let name = text(cluster, "/metadata/name");
        let class = object(overlay, "EC2NodeClass", "", "default");
        assert_eq!(
            text(class, "/spec/role"),
            text(cluster, "/managedNodeGroups/0/iam/instanceRoleName")
        );
        for pointer in [
            "/spec/subnetSelectorTerms/0/tags/alpha.eksctl.io~1cluster-name",
            "/spec/securityGroupSelectorTerms/0/tags/aws:eks:cluster-name",
        ] {
            assert_eq!(text(class, pointer), name, "{pointer}");
        }
        // clusters/eks/environment.yaml forms the name of the bucket in this way.
        let registry = registry(overlay);
        let account = registry.split('.').next().expect("an account");
        assert_eq!(
            attribute(overlay, "access_logs.s3.bucket"),
            format!("{name}-access-logs-{account}")
        );
        let region = text(cluster, "/metadata/region");
        assert_eq!(registry, format!("{account}.dkr.ecr.{region}.amazonaws.com"));
    }
}

#[test]
fn dev_and_prod_have_the_same_registry() {
    let [dev, prod] = on_eks().map(registry);
    assert_eq!(dev, prod);
}

/// Returns an attribute of the load balancer.
pub(crate) fn attribute(overlay: &'static Overlay, key: &str) -> &'static str {
    let parameters = object(overlay, "IngressClassParams", "", "public");
    let found = list(parameters, "/spec/loadBalancerAttributes")
        .iter()
        .find(|attribute| text(attribute, "/key") == key);
    text(found.unwrap_or_else(|| panic!("no attribute {key}")), "/value")
}

/// The policies contain addresses of the control plane and of the load balancer, which are in subnets without pods.
#[test]
fn the_addresses_of_the_policies_are_the_public_subnets_and_the_service_of_the_api_server() {
    for overlay in on_eks() {
        let cluster = cluster(&overlay.name);
        // As eksctl does: the VPC in eight parts, one of the first for the public subnet of each zone.
        let (network, prefix) = network(text(cluster, "/vpc/cidr"));
        let zones = list(cluster, "/availabilityZones").len();
        assert_eq!(zones as u64, ZONES);
        let subnet = |index: usize| {
            let size = 1 << (32 - (prefix + 3));
            let first = u32::try_from(index).expect("a small number") * size;
            format!(
                "{}/{}",
                Ipv4Addr::from_bits(network.to_bits() + first),
                prefix + 3
            )
        };
        let public: BTreeSet<_> = (0..zones).map(subnet).collect();
        let (services, _) = self::network(text(cluster, "/kubernetesNetworkConfig/serviceIPv4CIDR"));
        let service = format!("{}/32", Ipv4Addr::from_bits(services.to_bits() + 1));
        let mut found = 0;
        for policy in of_kind(&overlay.objects, "NetworkPolicy") {
            for rules in ["/spec/ingress", "/spec/egress"] {
                let peers = list(policy, rules)
                    .iter()
                    .flat_map(|rule| list(rule, "/from").iter().chain(list(rule, "/to")));
                let blocks: BTreeSet<_> = peers
                    .filter_map(|peer| peer.pointer("/ipBlock/cidr")?.as_str().map(str::to_owned))
                    .collect();
                if blocks.is_empty() {
                    continue;
                }
                found += 1;
                let mut expected = public.clone();
                // A client of the API server connects to its Service.
                expected.extend((rules == "/spec/egress").then(|| service.clone()));
                assert_eq!(blocks, expected, "overlay {}: {policy}", overlay.name);
            }
        }
        assert_eq!(found, 4, "overlay {}", overlay.name);
    }
}

/// Returns the address and the length of the prefix of a network.
fn network(cidr: &str) -> (Ipv4Addr, u32) {
    let (address, prefix) = cidr.split_once('/').expect("a network");
    (
        address.parse().expect("an address"),
        prefix.parse().expect("a number"),
    )
}

#[test]
fn the_pair_and_the_headroom_are_spread_over_the_zones() {
    for overlay in on_eks() {
        for app in ["app-a", "app-b", "headroom"] {
            let deployment = object(overlay, "Deployment", "sample-app", app);
            let constraint = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"][0];
            let expected = json!({
                "topologyKey": "topology.kubernetes.io/zone",
                "maxSkew": 1,
                "minDomains": 2,
                "whenUnsatisfiable": "DoNotSchedule",
                "nodeTaintsPolicy": "Honor",
                "labelSelector": {"matchLabels": {"app.kubernetes.io/name": app}},
                "matchLabelKeys": ["pod-template-hash"],
            });
            assert_eq!(*constraint, expected, "overlay {}: {app}", overlay.name);
        }
    }
}

/// The taint keeps the pair off the nodes of the system. Whatever tolerates it must select them, or it could run anywhere.
#[test]
fn the_monitoring_runs_on_the_nodes_of_the_system_and_the_pair_does_not() {
    for overlay in on_eks() {
        let group = &cluster(&overlay.name)["managedNodeGroups"][0];
        let taint = &group["taints"][0];
        assert_eq!(taint["effect"], "NoSchedule");
        for deployment in of_kind(&overlay.objects, "Deployment") {
            let pod = &deployment["spec"]["template"]["spec"];
            let tolerates = list(pod, "/tolerations")
                .iter()
                .any(|toleration| toleration["key"] == taint["key"] && toleration["operator"] == "Exists");
            let selects = pod.get("nodeSelector") == group.get("labels");
            let is_monitoring = deployment["metadata"]["namespace"] == "monitoring";
            assert_eq!(
                (tolerates, selects),
                (is_monitoring, is_monitoring),
                "overlay {}: {}",
                overlay.name,
                deployment["metadata"]["name"]
            );
        }
    }
}

#[test]
fn the_autoscalers_and_the_pool_have_room_for_ten_times_the_ordinary_load() {
    for overlay in on_eks() {
        let headroom = object(overlay, "Deployment", "sample-app", "headroom");
        let mut pods = headroom["spec"]["replicas"].as_u64().expect("a number");
        for app in ["app-a", "app-b"] {
            let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", app);
            let most = hpa["spec"]["maxReplicas"].as_u64().expect("a number");
            let needed = (10 * ordinary_step(overlay)).div_ceil(target(overlay, app));
            // A fifth more, so that the metric decides and not the bound.
            assert_eq!(most, needed * 6 / 5, "overlay {}: {app}", overlay.name);
            pods += most;
        }
        let needed = pods
            .div_ceil(free_pods_of_a_node(overlay))
            .next_multiple_of(ZONES);
        let pool = object(overlay, "NodePool", "", "default");
        let limit = |field: &str| -> u64 {
            text(pool, &format!("/spec/limits/{field}"))
                .parse()
                .expect("a number")
        };
        // One more in each zone, for replacements.
        assert_eq!(
            limit("nodes"),
            needed + ZONES,
            "overlay {}: {pods} pods",
            overlay.name
        );
        let requirements = list(pool, "/spec/template/spec/requirements");
        let sizes = requirements
            .iter()
            .find(|requirement| text(requirement, "/key") == "karpenter.k8s.aws/instance-cpu")
            .expect("the sizes");
        assert_eq!(text(sizes, "/operator"), "In");
        let sizes = list(sizes, "/values").iter().filter_map(Value::as_str);
        let sizes: BTreeSet<u64> = sizes.map(|cpus| cpus.parse().expect("a number")).collect();
        assert_eq!(sizes.first(), Some(&CPUS_OF_A_NODE), "overlay {}", overlay.name);
        let largest = sizes.last().expect("a size");
        assert_eq!(limit("cpu"), limit("nodes") * largest, "overlay {}", overlay.name);
    }
}

#[test]
fn faults_of_the_load_balancer_are_found() {
    let schema = schema();
    let ingress = |pointer, value, finding| mutation("Ingress", "app-a", pointer, value, finding);
    let parameters =
        |pointer, value, finding| mutation("IngressClassParams", "public", pointer, value, finding);
    let service = "/spec/rules/0/http/paths/0/backend/service";
    let in_service = |field: &str| -> &'static str { format!("{service}/{field}").leak() };
    let objects = &overlay("dev").objects;
    expect_findings_in(
        objects,
        |objects| schema.check(objects).expect("usable"),
        &[
            ingress("/spec/ingressClass", json!("public"), "ingressClass"),
            ingress("/spec/rules/0/http/paths/0/pathType", Value::Null, "pathType"),
            parameters("/apiVersion", json!("elbv2.k8s.aws/v1"), "does not have"),
            parameters("/spec/scheme", json!("public"), "public"),
            parameters("/spec/targetTypes", json!("ip"), "targetTypes"),
            parameters("/spec/loadBalancerAttributes/0/value", json!(60), "string"),
        ],
    );
    expect_findings_in(
        objects,
        references::missing,
        &[
            ingress("/spec/ingressClassName", json!("alb"), "IngressClass \"alb\""),
            mutation(
                "IngressClass",
                "public",
                "/spec/parameters/name",
                json!("alb"),
                "IngressClassParams \"alb\"",
            ),
        ],
    );
    expect_findings_in(
        objects,
        relations::ports,
        &[
            ingress(in_service("port/name"), json!("https"), "no Service app-a"),
            ingress(in_service("name"), json!("app-c"), "no Service app-c"),
        ],
    );
    expect_findings_in(
        objects,
        |objects| relations::exposure(objects, public("dev")),
        &[ingress(
            in_service("name"),
            json!("app-b"),
            "makes app-b reachable",
        )],
    );
}
