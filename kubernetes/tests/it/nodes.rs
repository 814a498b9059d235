//! The nodes that scale: the autoscalers, their pool, and the headroom.

use crate::{
    mutation::{expect_findings_in, mutation},
    rendered::{CLUSTER_AUTOSCALER, Overlay, all_overlays, object, overlay, schema},
};
use manifests::{
    objects::{self, list, of_kind, text},
    references,
};
use serde_json::{Value, json};
use testbed::versions;

#[test]
fn the_cluster_autoscaler_has_the_minor_version_of_the_cluster() {
    let minor = |version: &str| {
        let mut parts = version.split('.').map(str::to_owned);
        (parts.next(), parts.next())
    };
    let (_, tag) = CLUSTER_AUTOSCALER.rsplit_once(':').expect("a tag");
    assert_eq!(minor(tag), minor(versions::kubernetes()), "{tag}");
}

#[test]
fn an_overlay_has_at_most_one_node_autoscaler() {
    for overlay in all_overlays() {
        let pools = of_kind(&overlay.objects, "NodePool").count();
        let deployments = of_kind(&overlay.objects, "Deployment");
        let autoscalers = deployments
            .filter(|deployment| objects::name(deployment).ends_with("cluster-autoscaler"))
            .count();
        assert!(pools + autoscalers <= 1, "overlay {}", overlay.name);
    }
}

#[test]
fn the_testbed_and_eks_have_the_same_pool_apart_from_the_class_its_types_and_the_sizes() {
    let pool = |name| {
        let mut pool = object(overlay(name), "NodePool", "", "default").clone();
        let template = &mut pool["spec"]["template"]["spec"];
        template["nodeClassRef"].take();
        // The pods behind a load balancer take longer to stop.
        template["terminationGracePeriod"].take();
        let requirements = template["requirements"].as_array_mut().expect("requirements");
        requirements.retain(|requirement| {
            let key = text(requirement, "/key");
            key != "kubernetes.io/arch" && !key.starts_with("karpenter.k8s.aws/")
        });
        pool["spec"]["limits"].take();
        // A demonstration is faster.
        pool["spec"]["disruption"]["consolidateAfter"].take();
        pool
    };
    assert_eq!(pool("local-nodes"), pool("dev"));
}

#[test]
fn added_nodes_are_in_several_zones_and_all_of_them_can_go() {
    let overlay = overlay("local-nodes");
    for app in ["app-a", "app-b"] {
        let deployment = object(overlay, "Deployment", "sample-app", app);
        let zones = list(deployment, "/spec/template/spec/topologySpreadConstraints")
            .iter()
            .find(|constraint| text(constraint, "/topologyKey") == "topology.kubernetes.io/zone")
            .expect("a constraint for zones");
        // Karpenter ignores constraints that are not required.
        assert_eq!(text(zones, "/whenUnsatisfiable"), "DoNotSchedule", "{app}");
        assert_eq!(text(zones, "/nodeTaintsPolicy"), "Honor", "{app}");
        let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", app);
        // With a smaller skew, the pods at rest need nodes in two zones.
        assert_eq!(zones["maxSkew"], hpa["spec"]["minReplicas"], "{app}");
    }
}

#[test]
fn the_limit_of_the_pool_has_room_for_the_pair_at_its_maximum() {
    let overlay = overlay("local-nodes");
    let demand: u64 = ["app-a", "app-b"]
        .into_iter()
        .map(|app| {
            let deployment = object(overlay, "Deployment", "sample-app", app);
            let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", app);
            hpa["spec"]["maxReplicas"].as_u64().expect("a number") * millicores(deployment)
        })
        .sum();
    let pool = object(overlay, "NodePool", "", "default");
    let nodes: u64 = text(pool, "/spec/limits/nodes").parse().expect("a number");
    // The smallest type of the testbed offers 300m. The agent for network policies requests 20m of them.
    assert!(nodes * (300 - 20) >= demand, "{nodes} nodes for {demand}m");
}

/// The CPU request of the first container, in thousandths of a CPU.
pub(crate) fn millicores(deployment: &Value) -> u64 {
    let request = text(
        deployment,
        "/spec/template/spec/containers/0/resources/requests/cpu",
    );
    let number = request.strip_suffix('m').and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("a CPU request of {request:?}"))
}

#[test]
fn the_headroom_is_one_ordinary_step_of_load() {
    for name in ["headroom", "dev", "prod"] {
        expect_one_step(overlay(name));
    }
}

/// The ordinary step of load, in requests per second. On EKS it is also the ordinary load.
pub(crate) fn ordinary_step(overlay: &'static Overlay) -> u64 {
    let headroom = object(overlay, "Deployment", "sample-app", "headroom");
    let step = text(headroom, "/metadata/annotations/sample-app~1ordinary-step");
    step.parse().expect("requests per second")
}

/// The requests per second that a pod of a service should get.
pub(crate) fn target(overlay: &'static Overlay, app: &str) -> u64 {
    let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", app);
    let target = text(hpa, "/spec/metrics/0/pods/target/averageValue");
    target.parse().expect("requests per second")
}

fn expect_one_step(overlay: &'static Overlay) {
    let headroom = object(overlay, "Deployment", "sample-app", "headroom");
    let app = object(overlay, "Deployment", "sample-app", "app-a");
    let hpa = object(overlay, "HorizontalPodAutoscaler", "sample-app", "app-a");
    let (step, target) = (ordinary_step(overlay), target(overlay, "app-a"));
    let bound = |field: &str| hpa["spec"][field].as_u64().expect("a number");
    let replicas = headroom["spec"]["replicas"].as_u64().expect("a number");
    assert_eq!(
        replicas,
        step.div_ceil(target),
        "overlay {}: a step of {step} at {target} for each pod",
        overlay.name
    );
    assert!(
        replicas <= bound("maxReplicas") - bound("minReplicas"),
        "overlay {}: the HPA never adds {replicas} pods",
        overlay.name
    );
    let resources = |deployment: &Value, field: &str| {
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        container["resources"]["requests"][field].clone()
    };
    for field in ["cpu", "memory"] {
        let what = format!("overlay {}: {field}", overlay.name);
        assert_eq!(resources(headroom, field), resources(app, field), "{what}");
    }
}

#[test]
fn the_headroom_gives_way_to_every_pod_but_still_gets_nodes() {
    let example = overlay("headroom");
    let headroom = object(example, "Deployment", "sample-app", "headroom");
    let class = text(headroom, "/spec/template/spec/priorityClassName");
    let class = object(example, "PriorityClass", "", class);
    let priority = class["value"].as_i64().expect("a number");
    let autoscaler = object(
        overlay("eks-cluster-autoscaler"),
        "Deployment",
        "kube-system",
        "cluster-autoscaler",
    );
    let container = &autoscaler["spec"]["template"]["spec"]["containers"][0];
    let cutoff: i64 = objects::flag(container, "--expendable-pods-priority-cutoff")
        .and_then(|value| value.parse().ok())
        .expect("a number");
    assert!(cutoff <= priority && priority < 0, "{cutoff} {priority}");
    assert_eq!(text(class, "/preemptionPolicy"), "Never");
    let seconds = &headroom["spec"]["template"]["spec"]["terminationGracePeriodSeconds"];
    assert_eq!(seconds, 0, "the pods wait for the end of the headroom");
}

#[test]
fn faults_of_the_pool_and_its_class_are_found() {
    let schema = schema();
    let pool = |pointer, value, finding| mutation("NodePool", "default", pointer, value, finding);
    let class = |pointer, value, finding| mutation("EC2NodeClass", "default", pointer, value, finding);
    expect_findings_in(
        &overlay("dev").objects,
        |objects| schema.check(objects).expect("usable"),
        &[
            pool("/apiVersion", json!("karpenter.sh/v1beta1"), "does not have"),
            pool("/spec/limit", json!({}), "limit"),
            pool("/spec/disruption/consolidateAfter", json!("soon"), "soon"),
            pool("/spec/disruption/budgets/0/reason", json!([]), "reason"),
            pool("/spec/template/spec/nodeClassRef", Value::Null, "nodeClassRef"),
            pool("/spec/template/spec/requirements/0/operator", json!("Is"), "Is"),
            class("/spec/amiSelectorTerms", Value::Null, "amiSelectorTerms"),
            class("/spec/metadataOptions/httpTokens", json!("always"), "always"),
            class("/spec/subnetSelectorTerms/0/tag", json!({}), "tag"),
            class("/metadata/label", json!({}), "label"),
        ],
    );
    expect_findings_in(
        &overlay("headroom").objects,
        references::missing,
        &[
            pool(
                "/spec/template/spec/nodeClassRef/name",
                json!("other"),
                "TestbedNodeClass \"other\"",
            ),
            pool(
                "/spec/template/spec/nodeClassRef/kind",
                json!("EC2NodeClass"),
                "EC2NodeClass \"default\"",
            ),
            pool(
                "/spec/template/spec/nodeClassRef/group",
                json!("karpenter.k8s.aws"),
                "not of the group",
            ),
            mutation(
                "Deployment",
                "headroom",
                "/spec/template/spec/priorityClassName",
                json!("low"),
                "PriorityClass \"low\"",
            ),
            mutation(
                "ClusterRoleBinding",
                "karpenter",
                "/subjects/0/namespace",
                json!("kube-system"),
                "ServiceAccount \"karpenter\"",
            ),
            mutation(
                "ClusterRoleBinding",
                "karpenter",
                "/roleRef/name",
                json!("cluster-admin"),
                "ClusterRole \"cluster-admin\"",
            ),
        ],
    );
}
