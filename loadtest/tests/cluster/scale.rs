//! `loadtest scale` against a fake cluster, in process and as a command.

use std::sync::atomic::Ordering;

use engine::Interrupt;
use loadtest::{commands::scale::summary, page::render_scale};
use prover::prove::{ScaleVerdict, Stage};

use crate::{
    scale_command::ScaleOutput,
    scaling_cluster::{ScalingCluster, follow},
};

#[tokio::test]
async fn the_report_contains_the_node_zone_and_request_count_of_each_pod() {
    let cluster = ScalingCluster::start(follow).await;
    let report = cluster.run(&mut Interrupt::never()).await;
    let run = &report.runs[0];
    let places: Vec<_> = run
        .pods
        .iter()
        .map(|pod| (pod.pod.as_str(), pod.node.as_deref(), pod.zone.as_deref()))
        .collect();
    assert_eq!(places.len(), 6, "{places:?}");
    assert_eq!(places[1], ("app-a-5d8f7-1", Some("node-b"), Some("zone-b")));
    let nodes = run.timeline.samples[0].nodes.unwrap();
    assert_eq!((nodes.total, nodes.ready, nodes.zones), (2, 2, 2));
    // The fake server sends no x-served-by header, so only Prometheus has counts.
    assert!(
        run.pods
            .iter()
            .all(|pod| pod.answered.is_none() && pod.counted.is_some_and(|counted| counted > 0.0)),
        "{:?}",
        run.pods
    );
    let page = render_scale(&report).unwrap();
    for part in [
        "<td>app-a-5d8f7-5</td><td>node-b</td><td>zone-b</td>",
        "nodes ready",
    ] {
        assert!(page.contains(part), "the page does not contain {part:?}");
    }
}

#[tokio::test]
async fn random_arrivals_are_those_of_the_seed() {
    let cluster = ScalingCluster::start(follow).await;
    let json = cluster
        .prove(&["--arrivals", "poisson", "--seed", "7"])
        .await
        .json;
    let poisson = serde_json::json!({ "poisson": { "seed": 7 } });
    assert_eq!(json["config"]["arrivals"], poisson);
    assert_eq!(json["runs"][0]["step"]["plan"]["spacing"], poisson);
}

#[tokio::test]
async fn a_successful_run_writes_all_reports() {
    let cluster = ScalingCluster::start(follow).await;
    let output = cluster.prove(&[]).await;
    for expected in [
        "app-a: 2 -> 6 -> 2 replicas",
        "plateau",
        "SuccessfulRescale",
        "PASSED",
        "ok     chain app-a",
    ] {
        assert!(
            output.text.contains(expected),
            "the text does not contain {expected:?}: {}",
            output.text
        );
    }
    assert_eq!(output.json["verdict"], "passed");
    assert!(output.page.contains("PASSED"));
}

#[tokio::test]
async fn an_hpa_on_an_external_metric_is_proven_and_the_reports_name_what_was_not_checked() {
    let cluster = ScalingCluster::start(|state, rate| {
        follow(state, rate);
        state.external = Some(state.metric_sum);
    })
    .await;
    cluster.fake.change(|state| state.metric_type = "External");
    let ScaleOutput { text, json, page } = cluster.prove(&[]).await;
    for expected in [
        "replicas (target 50 of the external metric s0-queue per pod, 280 requests/s",
        "ok     chain app-a: every link of the metrics chain works: 6 of 8 links work; \
         not checked: prometheus-scrape, service-metric",
        "ok     metric-matches app-a: the external metric, a total of all pods, is within",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in: {text}");
    }
    let metric = serde_json::json!({ "type": "external", "name": "s0-queue", "selector": "scaledobject=app-a",
        "target": 50.0, "target_type": "average_value" });
    assert_eq!(json["runs"][0]["expected"][0]["metric"], metric);
    for part in [
        "app-a: target 50 of the external metric s0-queue per pod",
        "</i>app-a: external metric</span>",
        "<code>service-metric</code></td><td><span class=\"soft\">not checked:</span> an external metric can come from",
    ] {
        assert!(page.contains(part), "the page does not contain {part:?}");
    }
}

#[tokio::test]
async fn repeated_runs_report_the_median_of_each_time() {
    let cluster = ScalingCluster::start(follow).await;
    // The waits of this seed are about 1.1 and 1.3 s.
    let ScaleOutput { text, json, page } = cluster.prove(&["--repeat", "2", "--seed", "844"]).await;
    assert!(
        text.contains("run 2 of 2") && text.contains("median and worst of 2 runs"),
        "{text}"
    );
    let began: Vec<_> = json["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (&run["verdict"], run["began_at"].as_str().unwrap()))
        .collect();
    assert_eq!(began.len(), 2);
    assert!(began[0].1 < began[1].1 && began.iter().all(|run| *run.0 == "passed"));
    assert_eq!(json["config"]["seed"], 844);
    assert!(text.contains("(--seed 844)"), "{text}");
    for run in json["runs"].as_array().unwrap() {
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{value}"));
        let (wait, settled) = (&run["start_wait_seconds"], &run["marks"]["settled"]);
        assert!(
            number(wait) > 0.0 && number(settled) <= -number(wait),
            "{wait} {settled}"
        );
        let since_sync = number(&run["time_to_scale"][0]["since_sync"]["seconds"]);
        assert!((0.0..15.0).contains(&since_sync), "{since_sync}");
    }
    let times = json["time_to_scale"].as_array().unwrap();
    let ready = times.iter().find(|time| time["stage"] == "ready").unwrap();
    assert_eq!(ready["runs"], 2, "{ready}");
    assert!(
        ready["at"]["median"].as_f64().is_some_and(|median| median > 0.0),
        "{ready}"
    );
    assert!(page.contains("over 2 runs"));
}

#[tokio::test]
async fn stages_without_a_baseline_have_no_time_and_report_the_reason() {
    let cluster = ScalingCluster::start(follow).await;
    cluster.fake.change(|state| state.prometheus = false);
    let mut interrupt = Interrupt::never();
    // Prometheus recovers during the step, but the counts before the step are missing.
    let recover = async {
        cluster.fake.wait_until(|state| state.pods == 6).await;
        cluster.fake.change(|state| state.prometheus = true);
    };
    let (report, ()) = tokio::join!(cluster.run(&mut interrupt), recover);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{}", summary(&report));
    let path = report.runs[0].time_to_scale[0].last().unwrap();
    for time in &path.stages {
        let has_no_time = [Stage::Counted, Stage::Scraped, Stage::Served].contains(&time.stage);
        assert_eq!(time.at.is_none(), has_no_time, "{time:?}");
    }
    let page = render_scale(&report).unwrap();
    for message in [
        "app-a: Prometheus: no endpoints available",
        "app-a: pods' own metrics: Prometheus knows no port",
    ] {
        assert!(summary(&report).contains(message), "{}", summary(&report));
        assert!(page.replace("&#39;", "'").contains(message));
    }
}

#[tokio::test]
async fn a_broken_chain_exits_with_1_before_the_load() {
    let cluster = ScalingCluster::start(|_, _| ()).await;
    cluster
        .fake
        .change(|state| state.exported = "http_server_requests_total");
    let output = cluster.command(&["--url", &cluster.url, "--rate", "280"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text.contains("FAILED chain app-a") && text.contains("service-metric is broken"),
        "{text}"
    );
    assert_eq!(
        cluster.requests.load(Ordering::SeqCst),
        0,
        "the command sent a request"
    );
}

#[tokio::test]
async fn a_step_that_proves_nothing_is_rejected() {
    let cluster = ScalingCluster::start(|_, _| ()).await;
    let url = cluster.url.as_str();
    for (arguments, message) in [
        (vec!["--url", url, "--rate", "380"], "use 392"),
        (vec!["--url", url, "--rate", "90"], "at its minimum"),
        (vec!["--url", url, "--replicas", "11"], "no rate needs exactly 11"),
        (
            vec!["--url", url, "--rate", "392", "--hpa", "app-z"],
            "no HPA app-z",
        ),
        (
            vec!["--url", url, "--rate", "392", "--context", "other"],
            "context other",
        ),
        (
            vec!["--url", url, "--rate", "392", "--tail-rate", "120"],
            "--tail-rate",
        ),
        (
            vec!["--url", "http://127.0.0.1:9/", "--rate", "392"],
            "cannot be reached",
        ),
        (
            vec!["--url", url, "--rate", "392", "--expect", "app-a"],
            "app-b=196",
        ),
        (vec!["--rate", "392"], "--url"),
        (vec!["--url", url], "--rate"),
    ] {
        let output = cluster.command(&arguments).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{arguments:?}: {text}");
        assert!(
            text.contains(message),
            "{arguments:?}: {message:?} is missing in: {text}"
        );
    }
    cluster.fake.change(|state| state.metric_type = "Resource");
    let output = cluster.command(&["--url", url, "--rate", "392"]).await;
    assert_eq!(output.status.code(), Some(104));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("its metric is of type Resource"), "{text}");
    cluster
        .fake
        .change(|state| (state.metric_type, state.max) = ("Pods", 9));
    let output = cluster.command(&["--url", url, "--rate", "392"]).await;
    assert_eq!(output.status.code(), Some(104));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("must allow 10"),
        "{output:?}"
    );
}
