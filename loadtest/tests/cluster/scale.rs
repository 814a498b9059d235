//! A whole run against a made-up cluster that scales on the requests that a real server counts.

use std::{
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use loadtest::{
    load::{Addresses, Bounds, Expectations, Mix, Network, Plan, Protocol, Schedule, Target, probe},
    scale::{
        Deadlines, Expected, Recording, ScaleConfig, ScaleReport, ScaleRun, ScaleVerdict, Setup, drive,
        render_html,
    },
    signals::Interrupt,
    units::{MaxFailed, Rate},
};
use tokio::{
    process::Command,
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    fixtures::{Scenario, State},
    recording,
};

/// An HPA without delays: every 300 ms it counts, and has as many pods as that needs.
pub(crate) struct World {
    pub(crate) scenario: Scenario,
    mix: Mix,
    addresses: Addresses,
    url: String,
    /// That the server has answered.
    pub(crate) requests: Arc<AtomicU64>,
}

impl World {
    pub(crate) async fn start(react: impl Fn(&mut State, f64) + Send + 'static) -> Self {
        let counter = Arc::new(AtomicU64::new(0));
        let (of_server, requests) = (Arc::clone(&counter), Arc::clone(&counter));
        let handler = move || async move {
            of_server.fetch_add(1, Ordering::SeqCst);
            "Hello there"
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hello", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hello", get(handler))).await });
        let scenario = Scenario::with(|_| {});
        let world = scenario.clone();
        tokio::spawn(async move {
            let (mut before, mut since) = (0, Instant::now());
            loop {
                sleep(Duration::from_millis(300)).await;
                let (now, seconds) = (counter.load(Ordering::SeqCst), since.elapsed().as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
                let rate = (now - before) as f64 / seconds;
                (before, since) = (now, Instant::now());
                world.change(|state| react(state, rate));
            }
        });
        let mix = Mix::new(
            vec![Target::new(http::Method::GET, &url).unwrap()],
            &[],
            &bytes::Bytes::new(),
            Protocol::Http1,
        )
        .unwrap();
        let addresses = probe(&mix, &Network::default(), Duration::from_secs(5))
            .await
            .unwrap();
        Self {
            scenario,
            mix,
            addresses,
            url,
            requests,
        }
    }

    pub(crate) fn setup(&self) -> Setup {
        let plan = |rate| Plan {
            schedule: Schedule::new(Rate::per_second(rate), Duration::from_mins(1)),
            mix: self.mix.clone(),
            network: Network::default(),
            expectations: Expectations::default(),
            timeout: Duration::from_secs(5),
            connections: 20,
            max_in_flight: 1000,
            max_connection_age: Some(Duration::from_secs(3)),
            max_idle: Duration::from_secs(2),
            threads: None,
        };
        Setup {
            namespace: "sample-app".to_owned(),
            expected: vec![Expected {
                rate: 280.0,
                replicas: 6,
                ..recording::expected()
            }],
            step: plan(280),
            tail: Some(plan(20)),
            prometheus: "monitoring/prometheus:9090".parse().unwrap(),
            series: "http_requests_total".to_owned(),
            addresses: self.addresses.clone(),
            deadlines: Deadlines {
                settle: 10.0,
                scale_up: 10.0,
                plateau: 5.0,
                scale_down: 15.0,
            },
        }
    }

    /// As a user would call it, with phases short enough for a test.
    async fn command(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.scenario.serve().await;
        Command::new(env!("CARGO_BIN_EXE_loadtest"))
            .args([
                "scale",
                "--plateau",
                "5s",
                "--scale-up-deadline",
                "15s",
                "--scale-down-deadline",
                "15s",
            ])
            .args(["--max-lag", "250ms", "--chain-wait", "0s", "--connections", "20"])
            .args(arguments)
            .env("KUBECONFIG", kubeconfig.path())
            .output()
            .await
            .unwrap()
    }

    async fn run(&self, interrupt: &mut Interrupt) -> ScaleReport {
        let recording = drive(&self.scenario.cluster, &self.setup(), interrupt)
            .await
            .unwrap();
        judge(recording)
    }
}

pub(crate) fn judge(recording: Recording) -> ScaleReport {
    let config = ScaleConfig {
        namespace: "sample-app".to_owned(),
        context: None,
        targets: Vec::new(),
        rate: 280.0,
        tail_rate: 20.0,
    };
    let bounds = Bounds {
        max_lag: Duration::from_millis(250),
        max_failed: MaxFailed::Count(0),
    };
    ScaleReport::of(config, vec![ScaleRun::of(Vec::new(), recording, bounds)])
}

/// The rate as pods would report it: what is closer to the nominal one than the jitter of 300 ms is that one.
fn follow(state: &mut State, rate: f64) {
    let nominal = [0.0, 20.0, 280.0]
        .into_iter()
        .min_by(|one, other| (rate - one).abs().total_cmp(&(rate - other).abs()));
    state.metric_sum = nominal.unwrap();
    state.counted += rate;
    state.read = state.counted;
    let pods = match state.metric_sum {
        ..=100.0 => 2,
        _ => 6,
    };
    (state.desired, state.pods) = (pods, pods);
}

#[tokio::test]
async fn a_cluster_that_follows_the_load_passes() {
    let world = World::start(follow).await;
    let mut report = world.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Passed, "{}", report.summary());
    let run = report.runs.remove(0);
    let (step, tail) = (run.step.unwrap(), run.tail.unwrap());
    assert!(
        step.requests.sent > 280 * 5 && tail.requests.sent >= 20,
        "{:?} {:?}",
        step.requests,
        tail.requests
    );
    let about: Vec<_> = run
        .timeline
        .events
        .iter()
        .map(|event| event.regarding.as_str())
        .collect();
    assert!(
        [
            "HorizontalPodAutoscaler/app-a",
            "Node/node-b",
            "ConfigMap/cluster-autoscaler-status"
        ]
        .iter()
        .all(|name| about.contains(name))
            && !about.contains(&"Pod/coredns-1")
            && !about.iter().any(|name| name.contains("somebody-else")),
        "{about:?}"
    );
    let notes: Vec<_> = run.timeline.events.iter().map(|event| &event.note).collect();
    assert_eq!(
        notes.len(),
        notes.iter().collect::<std::collections::BTreeSet<_>>().len(),
        "an event came twice: {notes:?}"
    );
}

#[tokio::test]
async fn the_report_says_where_each_pod_is_and_what_it_counted() {
    let world = World::start(follow).await;
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
    let page = render_html(&report).unwrap();
    for part in [
        "<td>app-a-5d8f7-5</td><td>node-b</td><td>zone-b</td>",
        "nodes ready",
    ] {
        assert!(page.contains(part), "no {part:?} in the page");
    }
}

#[tokio::test]
async fn one_pod_too_many_fails() {
    let world = World::start(|state, rate| {
        follow(state, rate);
        if state.pods == 6 {
            state.desired = 7;
        }
    })
    .await;
    let report = world.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    let text = report.summary();
    assert!(
        text.contains("FAILED never-more app-a") && text.contains("7 after"),
        "{text}"
    );
}

#[tokio::test]
async fn a_cluster_that_goes_away_is_reported_and_the_load_stays_valid() {
    let world = World::start(|state, rate| {
        follow(state, rate);
        state.away = state.pods == 6;
    })
    .await;
    let report = world.run(&mut Interrupt::never()).await;
    assert_eq!(report.verdict, ScaleVerdict::Failed);
    let text = report.summary();
    assert!(text.contains("etcdserver: request timed out"), "{text}");
    assert!(
        text.contains("ok     step-requests") && text.contains("ok     step-valid"),
        "{text}"
    );
}

#[tokio::test]
async fn a_run_that_is_stopped_keeps_what_it_has() {
    let world = World::start(follow).await;
    let stop = watch::Sender::new(false);
    let mut interrupt = Interrupt::by(&stop);
    let plateau = async {
        world.scenario.wait_until(|state| state.pods == 6).await;
        stop.send_replace(true);
    };
    let (report, ()) = tokio::join!(world.run(&mut interrupt), plateau);
    assert_eq!(report.verdict, ScaleVerdict::Interrupted, "{}", report.summary());
    assert!(
        report.runs[0]
            .step
            .as_ref()
            .is_some_and(|step| step.requests.sent > 0 && step.requests.in_flight() == 0)
    );
}

#[tokio::test]
async fn the_command_proves_the_scaling_and_writes_its_reports() {
    let world = World::start(follow).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html) = (file("report.json"), file("report.html"));
    let output = world
        .command(&[
            "--url", &world.url, "--rate", "280", "--json", &json, "--html", &html,
        ])
        .await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    for expected in [
        "app-a: 2 -> 6 -> 2 replicas",
        "plateau",
        "SuccessfulRescale",
        "PASSED",
        "ok     chain app-a",
    ] {
        assert!(text.contains(expected), "no {expected:?} in {text}");
    }
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["verdict"], "passed");
    assert!(std::fs::read_to_string(&html).unwrap().contains("PASSED"));
}

#[tokio::test]
async fn several_runs_each_begin_at_rest_and_the_report_has_the_median_of_each_time() {
    let world = World::start(follow).await;
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (json, html) = (file("report.json"), file("report.html"));
    let output = world
        .command(&[
            "--url", &world.url, "--rate", "280", "--repeat", "2", "--json", &json, "--html", &html,
        ])
        .await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(
        text.contains("run 2 of 2") && text.contains("median and worst of 2 runs"),
        "{text}"
    );
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let began: Vec<_> = report["runs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|run| (&run["verdict"], run["began_at"].as_str().unwrap()))
        .collect();
    assert_eq!(began.len(), 2);
    assert!(began[0].1 < began[1].1 && began.iter().all(|run| *run.0 == "passed"));
    let times = report["time_to_scale"].as_array().unwrap();
    let ready = times.iter().find(|time| time["stage"] == "ready").unwrap();
    assert_eq!(ready["runs"], 2, "{ready}");
    assert!(
        ready["at"]["median"].as_f64() <= ready["at"]["worst"].as_f64(),
        "{ready}"
    );
    assert!(std::fs::read_to_string(&html).unwrap().contains("over 2 runs"));
}

#[tokio::test]
async fn a_broken_chain_ends_the_command_before_any_load() {
    let world = World::start(|_, _| ()).await;
    world
        .scenario
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
    let world = World::start(|_, _| ()).await;
    let url = world.url.as_str();
    for (arguments, says) in [
        (vec!["--url", url, "--rate", "380"], "392 would do"),
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
    world.scenario.change(|state| state.max = 9);
    let output = world.command(&["--url", url, "--rate", "392"]).await;
    assert_eq!(output.status.code(), Some(104));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("must allow 10"),
        "{output:?}"
    );
}
