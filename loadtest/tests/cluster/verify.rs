//! `loadtest verify` as a process: for each test a deployment on which it passes, and one that is broken in just that way.

use crate::{
    delivery::{Delivery, PairFault, TOKEN},
    fake_nodes::{FakeAutoscaler, NodeFault},
    kubeconfig::kubeconfig,
    scaling_cluster::{ScalingCluster, follow},
};

#[tokio::test]
async fn the_local_stage_passes_on_a_deployment_that_works() {
    let delivery = Delivery::new(PairFault::None);
    let verified = delivery.verify("local", &[]).await;
    assert_eq!(verified.code, 0, "{}", verified.text);
    assert_eq!(verified.names("passed"), ["apply", "hello-http", "jobs-https"]);
    assert_eq!(verified.names("failed"), [""; 0]);
    assert_eq!(verified.report["verdict"], "passed");
    assert!(!verified.text.contains("spread"), "{}", verified.text);
    assert!(
        verified.page.contains("the stage local does not contain it"),
        "{}",
        verified.page
    );
    for part in [
        "PASSED: stage local, 3 of 3 tests passed in ",
        "ok     hello-http: 200, text/html; charset=utf-8, \"Hello there\"; 20 times in a row",
        "certificates: verified with ",
    ] {
        assert!(
            verified.text.contains(part),
            "{part:?} is missing in {}",
            verified.text
        );
    }
    assert!(
        verified.progress.contains("apply: kubectl apply exits with 0"),
        "{}",
        verified.progress
    );
    assert!(
        verified
            .junit
            .contains("tests=\"9\" failures=\"0\" skipped=\"6\""),
        "{}",
        verified.junit
    );
    assert!(
        verified.page.contains("<h1 class=\"good\">PASSED</h1>"),
        "{}",
        verified.page
    );
    assert!(
        verified.page.contains("<code>jobs-https</code>"),
        "{}",
        verified.page
    );
}

#[tokio::test]
async fn a_failed_apply_is_reported_with_its_exit_code_and_message() {
    let delivery = Delivery::new(PairFault::None);
    delivery.kubectl("echo 'error: no objects passed to apply' >&2; exit 1");
    let verified = delivery.verify("local", &[]).await;
    verified.assert_failed_only("apply", "exits with 1", "no objects passed to apply");
    // The other tests say whether the earlier deployment still serves.
    assert_eq!(verified.names("passed"), ["hello-http", "jobs-https"]);
}

#[tokio::test]
async fn spread_passes_over_two_zones_and_fails_in_one() {
    let delivery = Delivery::new(PairFault::None);
    let only = ["--only", "spread"];
    assert_eq!(delivery.verify("prod", &only).await.code, 0);
    delivery
        .cluster
        .change(|state| state.zones = ["zone-a", "zone-a"]);
    let verified = delivery.verify("prod", &only).await;
    verified.assert_failed_only(
        "spread",
        "1 zones of the current context have a ready pod, fewer than 2",
        "(zone-a 2)",
    );
    assert_eq!(
        delivery
            .verify("prod", &["--only", "spread", "--min-zones", "1"])
            .await
            .code,
        0
    );
    // A second region without a pod.
    let context = ["--only", "spread", "--min-zones", "1", "--region-context", "fake"];
    let verified = delivery.verify("prod", &context).await;
    assert_eq!(verified.code, 0, "{}", verified.text);
    assert!(
        verified
            .text
            .contains("fake (zone-a 2), the current context (zone-a 2)"),
        "{}",
        verified.text
    );
}

/// The flags for the test `settled` alone, with the shortest window.
const SETTLED: [&str; 4] = ["--only", "settled", "--window", "20s"];

#[tokio::test]
async fn settled_passes_when_nothing_changes() {
    let delivery = Delivery::new(PairFault::Slow);
    delivery.cluster.change(|state| state.metric_sum = 100.0);
    let flags = [&SETTLED[..], &["--deadline", "settled=60s"]].concat();
    let verified = delivery.verify("prod", &flags).await;
    assert_eq!(verified.code, 0, "{} {}", verified.text, verified.progress);
    assert!(
        verified.text.contains("load of app-a: 100 then 100 requests/s"),
        "{}",
        verified.text
    );
}

#[tokio::test]
async fn settled_fails_while_the_hpa_wants_more() {
    let delivery = Delivery::new(PairFault::Slow);
    delivery
        .cluster
        .change(|state| (state.metric_sum, state.desired) = (100.0, 4));
    let flags = [&SETTLED[..], &["--deadline", "settled=46s"]].concat();
    let verified = delivery.verify("prod", &flags).await;
    verified.assert_failed_only(
        "settled",
        "the last two windows of 20 s",
        "desired 4, current 2, ready 2",
    );
    assert!(
        verified.progress.contains("not settled: replicas of app-a"),
        "{}",
        verified.progress
    );
}

/// The flags of the dev stage for a proof with short phases, without the tests on requests.
fn dev<'a>(url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let flags = [
        "--only",
        "pods-scale",
        "--only",
        "response-time",
        "--load-url",
        url,
        "--replicas",
        "6",
        "--plateau",
        "5s",
        "--metric-covers",
        "3500ms",
        "--objective",
        "2s",
        "--max-difference",
        "2s",
    ];
    [&flags, more].concat()
}

#[tokio::test]
async fn one_proof_judges_pods_and_response_time() {
    let scaling = ScalingCluster::start(follow).await;
    let mut delivery = Delivery::new(PairFault::None);
    delivery.cluster = scaling.fake.clone();
    let scale_json = delivery.path("scale.json");
    let verified = delivery
        .verify("dev", &dev(&scaling.url, &["--scale-json", &scale_json]))
        .await;
    assert_eq!(verified.code, 0, "{} {}", verified.text, verified.progress);
    assert_eq!(verified.names("passed"), ["pods-scale", "response-time"]);
    assert!(
        verified.text.contains("ReplicaSet app-a-10: 6 of 6 ready"),
        "{}",
        verified.text
    );
    // The timeline is progress, not output.
    assert!(
        verified.progress.contains("app-a: 2 -> 6 -> 2 replicas"),
        "{}",
        verified.progress
    );
    let proof = crate::schema::report(&std::fs::read(&scale_json).unwrap());
    assert_eq!(
        proof["runs"].as_array().unwrap().len(),
        1,
        "one proof for both tests"
    );
}

#[tokio::test]
async fn a_cluster_without_a_node_autoscaler_fails_only_nodes_scale() {
    let scaling = ScalingCluster::with_nodes(FakeAutoscaler::None, NodeFault::None).await;
    let mut delivery = Delivery::new(PairFault::None);
    delivery.cluster = scaling.fake.clone();
    let verified = delivery
        .verify("dev", &dev(&scaling.url, &["--only", "nodes-scale"]))
        .await;
    verified.assert_failed_only("nodes-scale", "the nodes cannot be judged", "Install Karpenter");
    assert_eq!(verified.names("passed"), ["pods-scale", "response-time"]);
}

#[tokio::test]
async fn a_missing_hpa_fails_the_tests_of_the_proof() {
    let scaling = ScalingCluster::start(follow).await;
    let mut delivery = Delivery::new(PairFault::None);
    delivery.cluster = scaling.fake.clone();
    delivery.cluster.change(|state| state.hpa_exists = false);
    let verified = delivery.verify("dev", &dev(&scaling.url, &[])).await;
    assert_eq!(
        (verified.code, verified.names("failed")),
        (1, vec!["pods-scale", "response-time"])
    );
    assert!(
        verified.text.contains("there is no HPA app-a in sample-app"),
        "{}",
        verified.text
    );
}

#[tokio::test]
async fn bad_input_exits_with_104_before_anything_runs() {
    let delivery = Delivery::new(PairFault::None);
    let token = delivery.path("token");
    let empty = delivery.path("empty");
    std::fs::write(&empty, "\n").unwrap();
    let with_token = ["--token-file", &token, "--insecure"];
    let cases: [(&[&str], &str); 10] = [
        (&[], "--stage"),
        (
            &["--stage", "local", "--insecure"],
            "set LOADTEST_TOKEN, or pass --token-file",
        ),
        (
            &["--stage", "local", "--insecure", "--token-file", &empty],
            "the token is empty",
        ),
        (
            &["--stage", "local", "--only", "spread"],
            "the stage local does not contain the test spread; it contains apply",
        ),
        (
            &["--stage", "local", "--only", "spred"],
            "`spred` is not a test; the tests are apply",
        ),
        (
            &["--stage", "prod", "--insecure"],
            "the stage prod needs the URL of the pair: --https",
        ),
        (
            &["--stage", "local", "--https", "https://h/path"],
            "must begin with https:// and have no path",
        ),
        (
            &["--stage", "prod", "--https", "https://h", "--check", "GET"],
            "is not a check",
        ),
        (
            &["--stage", "prod", "--https", "https://h", "--window", "5s"],
            "--window must be at least 20s",
        ),
        (
            &[
                "--stage",
                "prod",
                "--https",
                "https://h",
                "--deadline",
                "settled=30s",
            ],
            "must exceed two windows of 30s",
        ),
    ];
    for (flags, message) in cases {
        let add: &[&str] = if flags.contains(&"prod") && !flags.contains(&"--insecure") {
            &with_token
        } else {
            &[]
        };
        let output = delivery.command(&[flags, add].concat()).await;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{flags:?}: {error}");
        assert!(
            error.contains(message),
            "{message:?} is missing for {flags:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_dry_run_checks_the_flags_and_tests_nothing() {
    let delivery = Delivery::new(PairFault::None);
    let token = delivery.path("token");
    let report = delivery.path("verify.json");
    let run = async |token: &str| {
        let flags = ["--stage", "local", "--insecure", "--dry-run", "--json", &report];
        delivery
            .command(&[&flags[..], &["--token-file", token]].concat())
            .await
    };
    let output = run(&token).await;
    assert!(output.status.success(), "{output:?}");
    assert!(
        !std::path::Path::new(&report).exists(),
        "there is a report, so something ran"
    );
    let refused = run(&delivery.path("missing")).await;
    assert_eq!(refused.status.code(), Some(104), "{refused:?}");
}

#[tokio::test]
async fn the_list_shows_each_test_with_its_stages_and_needs_no_cluster() {
    let delivery = Delivery::new(PairFault::None);
    let text = String::from_utf8(delivery.command(&["--list"]).await.stdout).unwrap();
    assert!(
        text.contains("hello-http      local (deadline 30s), dev (deadline 5m)"),
        "{text}"
    );
    assert!(text.contains("canary-metrics  local (deadline 1m)"), "{text}");
    let output = delivery.command(&["--list", "--stage", "prod"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("spread") && !text.contains("hello-http"), "{text}");
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_exits_with_104_and_tests_without_a_cluster_still_run() {
    let delivery = Delivery::new(PairFault::None);
    let kubeconfig = kubeconfig("http://127.0.0.1:1", None);
    let run = async |only: &str| {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args([
                "verify",
                "--stage",
                "local",
                "--only",
                only,
                "--http",
                &delivery.http,
            ])
            .env("KUBECONFIG", kubeconfig.path())
            .env("LOADTEST_TOKEN", TOKEN)
            .output()
            .await
            .unwrap()
    };
    let output = run("apply").await;
    assert_eq!(output.status.code(), Some(104), "{output:?}");
    let output = run("hello-http").await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[tokio::test]
async fn a_canary_has_tests_of_its_own_and_is_given_up_after_the_first_that_fails() {
    let delivery = Delivery::new(PairFault::None);
    let verified = delivery
        .verify("local", &["--canary", "app-a=app-a-canary-1"])
        .await;
    verified.assert_failed_only(
        "canary-starts",
        "the canary does not start",
        "app-a-canary-1 does not exist any more",
    );
    assert_eq!(
        verified.names("skipped"),
        ["canary-urls", "canary-metrics", "canary-load"]
    );
    let text = &verified.text;
    assert!(
        text.contains("canary-load: canary-starts failed before it"),
        "{text}"
    );
    assert!(
        verified.junit.contains("tests=\"4\" failures=\"1\""),
        "{}",
        verified.junit
    );
    let token = delivery.path("token");
    let load = [
        "--stage=local",
        "--insecure",
        "--only=canary-load",
        "--token-file",
        &token,
    ];
    for (flags, expected) in [
        (&[][..], "canary-load needs a canary: --canary"),
        (&["--canary=app-a=a", "--deadline=canary-load=11m"], "at most 10m"),
        (
            &["--canary=app-a=a", "--deadline=canary-load=30s"],
            "exceed the window of 30s",
        ),
    ] {
        let output = delivery.command(&[&load, flags].concat()).await;
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}
