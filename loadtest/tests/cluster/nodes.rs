//! `loadtest scale --nodes`: its page, its text, its JSON, and the clusters that it rejects.

use std::{path::Path, sync::atomic::Ordering};

use loadtest::{commands::scale::summary, page::render_scale};

use crate::{
    fake_nodes::{FakeAutoscaler, NodeFault},
    node_recording::{nodes_of, recording_with_nodes},
    recording::{judge, recording},
    scaling_cluster::ScalingCluster,
};

#[test]
fn the_page_has_a_lane_for_each_node_in_the_colour_of_its_zone_with_its_pods() {
    let page = render_scale(&judge(recording_with_nodes())).unwrap();
    // For manual inspection.
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("scale-nodes-report.html");
    std::fs::write(file, &page).unwrap();
    let (_, section) = page.split_once("<h2>Nodes</h2>").unwrap();
    let (section, checks) = section.split_once("<h2>Checks</h2>").unwrap();
    assert_eq!(
        section.matches("class=\"lane\"").count(),
        5,
        "4 nodes and the pods without a node"
    );
    for part in [
        "1 → 4 → 1 nodes, karpenter",
        "<i class=\"c1\"></i>zone-a",
        "<i class=\"c2\"></i>zone-b",
        "<i class=\"c3\"></i>zone-c",
        "<p>default-0 <span class=\"soft\">zone-b, small, 2 pods</span></p>",
        "title=\"default-0: coming 5.0 to 11.0 s\"",
        "title=\"default-0: ready 11.0 to 150.0 s\"",
        "title=\"default-0: being removed 150.0 to 163.0 s\"",
        "title=\"app-a-5d8f7-2: 11.7 to 126.0 s\"",
        "class=\"pod waiting\"",
        "<td>zone-c</td><td>default-1</td><td class=\"soft\">new</td><td class=\"right\">2</td><td class=\"right\">7938 (25.0 %)</td>",
        "<td>default-2</td><td>zone-a</td><td>small</td><td class=\"right\">5.0</td><td class=\"right\">8.0</td>",
    ] {
        assert!(section.contains(part), "{part:?} is missing in {section}");
    }
    for name in [
        "nodes-added",
        "nodes-ready",
        "nodes-spread",
        "pods-placed",
        "nodes-served",
        "nodes-removed",
    ] {
        assert!(
            checks.contains(&format!("<code>{name}</code>")),
            "{name} is missing"
        );
    }
    assert!(page.contains("<dt>nodes</dt><dd>1 → 4 → 1</dd>"));
    for reference in ["<script", "<link", "src=", "url(", "@import", "https://", "NaN"] {
        assert!(!page.contains(reference), "the page contains {reference}");
    }
}

#[test]
fn a_page_of_a_thousand_nodes_draws_forty_and_escapes_names() {
    let mut recording = recording_with_nodes();
    let nodes = &mut nodes_of(&mut recording).nodes;
    nodes[1].name = "<b>".to_owned();
    let last = nodes[3].clone();
    nodes.resize(1000, last);
    let page = render_scale(&judge(recording)).unwrap();
    assert_eq!(page.matches("class=\"lane\"").count(), 41);
    assert!(page.contains("And 960 more nodes") && !page.contains("<b>"));
}

#[test]
fn a_run_without_nodes_mentions_none() {
    let report = judge(recording());
    let page = render_scale(&report).unwrap();
    assert!(!page.contains("<h2>Nodes</h2>") && !page.contains(".lanes"));
    assert!(!summary(&report).contains("nodes:"));
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["runs"][0].get("nodes").is_none() && json["runs"][0].get("served").is_none());
}

#[test]
fn the_text_lists_the_nodes_and_who_served() {
    let text = summary(&judge(recording_with_nodes()));
    let times = ["5.0", "6.0", "9.0", "11.0", "150.0", "163.0"]
        .map(|time| format!("{time:>11}"))
        .concat();
    for part in [
        "nodes: 1 -> 4 -> 1",
        &format!("  {:<24} {:<14} {:<12}{times}", "default-0", "zone-b", "small"),
        "  zone-b: default-0 (new, pods: 2): 7938 of the step (25.0 %), 234 of the tail",
        "  zone-a: node-a (from before the load, pods: 2): 7938 of the step",
        "node ready",
    ] {
        assert!(text.contains(part), "{part:?} is missing in {text}");
    }
}

#[tokio::test]
async fn the_command_proves_the_nodes_and_writes_all_reports() {
    let cluster = ScalingCluster::with_nodes(FakeAutoscaler::Karpenter, NodeFault::None).await;
    let folder = tempfile::tempdir().unwrap();
    let junit = folder.path().join("junit.xml");
    let arguments = [
        "--nodes",
        "--zones",
        "2",
        "--max-zone-skew",
        "1",
        "--nodes-deadline",
        "20s",
    ];
    let output = cluster
        .prove(&[&arguments[..], &["--junit", junit.to_str().unwrap()]].concat())
        .await;
    for part in [
        "nodes: karpenter adds them, and removes them within 20 s after the pods",
        "nodes: 3 of 3 ready, zones 3",
        "ok     nodes-added",
        "ok     nodes-removed",
        "nodes: 1 -> 3 -> 1",
        "NodeClaim/default-0 Launched",
    ] {
        assert!(
            output.text.contains(part),
            "{part:?} is missing in {}",
            output.text
        );
    }
    let nodes = &output.json["runs"][0]["nodes"];
    assert_eq!(
        (&nodes["plan"]["zones"], &nodes["before"]["nodes"]),
        (&2.into(), &1.into())
    );
    assert!(output.page.contains("<h2>Nodes</h2>"));
    let junit = std::fs::read_to_string(&junit).unwrap();
    for part in [
        "nodes-spread: the new nodes are in at least 2 of 3 known zones",
        "zone-b: nodes: 1, requests of the step: ",
    ] {
        assert!(junit.contains(part), "{part:?} is missing in {junit}");
    }
}

#[tokio::test]
async fn a_cluster_that_adds_no_nodes_is_rejected_before_the_load() {
    for (autoscaler, message) in [
        (FakeAutoscaler::None, "Install Karpenter and a NodePool"),
        (FakeAutoscaler::KarpenterWithoutPool, "apply a NodePool"),
        (FakeAutoscaler::OldKarpenter, "karpenter.sh as v1beta1, not as v1"),
    ] {
        let cluster = ScalingCluster::with_nodes(autoscaler, NodeFault::None).await;
        let output = cluster
            .command(&["--url", &cluster.url, "--rate", "280", "--nodes"])
            .await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{text}");
        assert!(text.contains(message), "{message:?} is missing in {text}");
        assert_eq!(
            cluster.requests.load(Ordering::SeqCst),
            0,
            "the command sent a request"
        );
    }
    let cluster = ScalingCluster::with_nodes(FakeAutoscaler::Karpenter, NodeFault::None).await;
    for (message, nodes_forbidden) in [
        ("the events in kube-system cannot be read", false),
        ("the nodes cannot be read", true),
    ] {
        cluster.fake.change(|state| {
            (state.events_forbidden, state.nodes_forbidden) = (true, nodes_forbidden);
        });
        let output = cluster
            .command(&["--url", &cluster.url, "--rate", "280", "--nodes"])
            .await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{text}");
        assert!(
            text.contains(message) && text.contains("`list` and `watch`"),
            "{message:?} is missing in {text}"
        );
    }
    let output = cluster
        .command(&["--url", &cluster.url, "--rate", "280", "--zones", "2"])
        .await;
    assert_eq!(output.status.code(), Some(104), "--zones needs --nodes");
}
