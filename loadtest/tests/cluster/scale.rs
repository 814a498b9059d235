//! A whole run against a made-up cluster, as text and as a page, and `loadtest scale` as it is called.

use std::sync::atomic::Ordering;

use engine::Interrupt;
use loadtest::{commands::scale::summary, page::render_scale};
use prover::prove::{ScaleVerdict, Stage};

use crate::{
    commands::Written,
    scaling_cluster::{ScalingCluster, follow},
};

#[tokio::test]
async fn the_report_says_where_each_pod_is_and_what_it_counted() {
    let world = ScalingCluster::start(follow).await;
    let report = world.run(&mut Interrupt::never()).await;
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
    // The made-up server names no pod, so that only Prometheus tells.
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
        assert!(page.contains(part), "no {part:?} in the page");
    }
}

#[tokio::test]
async fn the_command_proves_the_scaling_and_writes_its_reports() {
    let world = ScalingCluster::start(follow).await;
    let written = world.prove(&[]).await;
    for expected in [
        "app-a: 2 -> 6 -> 2 replicas",
        "plateau",
        "SuccessfulRescale",
        "PASSED",
        "ok     chain app-a",
    ] {
        assert!(
            written.text.contains(expected),
            "no {expected:?} in {}",
            written.text
        );
    }
    assert_eq!(written.json["verdict"], "passed");
    assert!(written.page.contains("PASSED"));
}

#[tokio::test]
async fn several_runs_each_begin_at_rest_and_the_report_has_the_median_of_each_time() {
    let world = ScalingCluster::start(follow).await;
    let Written { text, json, page } = world.prove(&["--repeat", "2"]).await;
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
async fn what_cannot_be_read_before_the_step_has_no_time_and_says_why_and_the_rest_has() {
    let world = ScalingCluster::start(follow).await;
    world.fake.change(|state| state.prometheus = false);
    let mut interrupt = Interrupt::never();
    // It comes back, but what it had before the step is not known any more.
    let comes_back = async {
        world.fake.wait_until(|state| state.pods == 6).await;
        world.fake.change(|state| state.prometheus = true);
    };
    let (report, ()) = tokio::join!(world.run(&mut interrupt), comes_back);
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{}", summary(&report));
    let path = report.runs[0].time_to_scale[0].last().unwrap();
    for time in &path.stages {
        let unknown = [Stage::Counted, Stage::Scraped, Stage::Served].contains(&time.stage);
        assert_eq!(time.at.is_none(), unknown, "{time:?}");
    }
    let page = render_scale(&report).unwrap();
    for says in [
        "app-a: Prometheus: no endpoints available",
        "app-a: pods' own metrics: Prometheus knows no port",
    ] {
        assert!(summary(&report).contains(says), "{}", summary(&report));
        assert!(page.replace("&#39;", "'").contains(says));
    }
}

#[tokio::test]
async fn a_broken_chain_ends_the_command_before_any_load() {
    let world = ScalingCluster::start(|_, _| ()).await;
    world
        .fake
        .change(|state| state.exported = "http_server_requests_total");
    let output = world.command(&["--url", &world.url, "--rate", "280"]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        text.contains("FAILED chain app-a") && text.contains("service-metric is broken"),
        "{text}"
    );
    assert_eq!(world.requests.load(Ordering::SeqCst), 0, "no request was sent");
}

#[tokio::test]
async fn what_could_prove_nothing_is_refused() {
    let world = ScalingCluster::start(|_, _| ()).await;
    let url = world.url.as_str();
    for (arguments, says) in [
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
        let output = world.command(&arguments).await;
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(104), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?} does not say {says:?}: {text}");
    }
    world.fake.change(|state| state.max = 9);
    let output = world.command(&["--url", url, "--rate", "392"]).await;
    assert_eq!(output.status.code(), Some(104));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("must allow 10"),
        "{output:?}"
    );
}
