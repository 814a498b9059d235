//! `loadtest chain --manifests` as a process, without a cluster.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

use crate::schema;

const HPA: &str = r"
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  maxReplicas: 4
  metrics:
    - type: Pods
      pods: {metric: {name: orders_per_second}, target: {type: AverageValue, averageValue: 5}}
";

const RULES: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: adapter-config}
data:
  config.yaml: |
    rules:
      - seriesQuery: orders_total{namespace!="",pod!=""}
        resources: {template: <<.Resource>>}
        name: {as: orders_per_second}
        metricsQuery: sum by (<<.GroupBy>>) (rate(<<.Series>>{<<.LabelMatchers>>}[1m]))
"#;

/// Runs `loadtest chain` in a folder with the files, without a kubeconfig.
fn chain(arguments: &[&str], input: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("hpa.yaml", HPA),
        ("rules.yaml", RULES),
        ("old.yaml", &HPA.replace("autoscaling/v2", "autoscaling/v2beta2")),
        ("metrics", "orders_total 0\n"),
        ("broken.yaml", "kind: [\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command
        .arg("chain")
        .args(arguments)
        .current_dir(folder.path())
        .env("KUBECONFIG", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // The command may exit without reading its input.
    drop(process.stdin.take().unwrap().write_all(input.as_bytes()));
    process.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn links_that_agree_exit_with_0() {
    let files = [
        "--manifests",
        "hpa.yaml",
        "--manifests",
        "rules.yaml",
        "--metrics",
        "metrics",
    ];
    let output = chain(&files, "");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let shown = text(&output.stdout);
    for line in [
        "metrics chain of shop",
        "  ok     hpa                shop scales Deployment/shop on orders_per_second, 5 per pod",
        "  -      prometheus-scrape  ",
        "  ok     service-metric     the pods export orders_total",
        "  ok     adapter-rule       ",
    ] {
        assert!(shown.contains(line), "no {line:?}: {shown}");
    }
}

#[test]
fn a_broken_link_exits_with_1() {
    let output = chain(&["--manifests", "old.yaml", "--manifests", "rules.yaml"], "");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let shown = text(&output.stdout);
    assert!(
        shown.contains("first broken link: hpa: ") && shown.contains("use autoscaling/v2"),
        "{shown}"
    );
}

#[test]
fn the_manifests_can_come_from_standard_input_and_the_report_as_json() {
    let render = [HPA, "---", RULES].concat();
    let output = chain(&["--manifests", "-", "--hpa", "shop", "--json"], &render);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = schema::report(&output.stdout);
    assert_eq!(report["whole"], true);
    assert_eq!(report["chains"][0]["links"][5]["state"], "ok");
    assert_eq!(report["chains"][0]["links"][4]["state"], "not_checked");
}

#[test]
fn unusable_input_exits_with_104_and_says_what_to_do() {
    for (arguments, says) in [
        (&["--manifests", "none.yaml"][..], "none.yaml cannot be read"),
        (&["--manifests", "broken.yaml"], "broken.yaml is not valid YAML"),
        (
            &["--manifests", "rules.yaml"],
            "no HorizontalPodAutoscaler: add the file",
        ),
        (
            &["--manifests", "hpa.yaml", "--hpa", "store"],
            "no HPA store, only shop",
        ),
        (&["--manifests", "-", "--metrics", "-"], "only one file can be -"),
        (
            &["--manifests", "hpa.yaml", "--context", "prod"],
            "cannot be used with",
        ),
        (&["--metrics", "metrics"], "--manifests <FILE>"),
    ] {
        let output = chain(arguments, "");
        assert_eq!(output.status.code(), Some(104), "{output:?}");
        let shown = text(&output.stderr);
        assert!(
            shown.contains(says),
            "{arguments:?} does not say {says:?}: {shown}"
        );
    }
}
