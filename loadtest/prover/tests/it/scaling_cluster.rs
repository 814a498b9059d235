//! A fake cluster whose HPA scales on the requests to a real HTTP server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use engine::{
    Addresses, Bounds, Expectations, Interrupt, Mix, Network, Plan, Protocol, Schedule, Spacing, Target,
    probe,
    units::{MaxFailed, Rate},
};
use prover::prove::{Deadlines, Expected, Recording, ScaleConfig, ScaleReport, ScaleRun, Setup, drive};
use tokio::time::{Instant, sleep};

use crate::{
    cluster_state::ClusterState,
    fake_cluster::FakeCluster,
    fake_nodes::{FakeAutoscaler, FakeNodes, NodeFault},
    recording, schema,
};

/// A fake cluster and its HTTP server. Every 300 ms, a callback updates the state of the cluster from the request rate.
pub(crate) struct ScalingCluster {
    pub(crate) fake: FakeCluster,
    mix: Mix,
    addresses: Addresses,
    pub(crate) url: String,
    /// The number of requests that the server has answered.
    pub(crate) requests: Arc<AtomicU64>,
}

impl ScalingCluster {
    /// Starts a cluster whose nodes follow its pods.
    pub(crate) async fn with_nodes(autoscaler: FakeAutoscaler, fault: NodeFault) -> Self {
        let cluster = Self::start(|state, rate| {
            follow(state, rate);
            let pods = state.pods;
            if let Some(nodes) = &mut state.nodes {
                nodes.tick(pods);
            }
        })
        .await;
        cluster
            .fake
            .change(|state| state.nodes = Some(FakeNodes::new(autoscaler, fault)));
        cluster
    }

    /// Starts the server, and calls `react` every 300 ms with the state and the rate in requests per second.
    pub(crate) async fn start(react: impl Fn(&mut ClusterState, f64) + Send + 'static) -> Self {
        let counter = Arc::new(AtomicU64::new(0));
        let (server_counter, requests) = (Arc::clone(&counter), Arc::clone(&counter));
        let handler = move || async move {
            server_counter.fetch_add(1, Ordering::SeqCst);
            "Hello there"
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hello", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/hello", get(handler))).await });
        let fake = FakeCluster::with(|_| {});
        let changed = fake.clone();
        tokio::spawn(async move {
            let (mut last_count, mut since) = (0, Instant::now());
            loop {
                sleep(Duration::from_millis(300)).await;
                let (now, seconds) = (counter.load(Ordering::SeqCst), since.elapsed().as_secs_f64());
                #[expect(clippy::cast_precision_loss, reason = "a few hundred requests")]
                let rate = (now - last_count) as f64 / seconds;
                (last_count, since) = (now, Instant::now());
                changed.change(|state| react(state, rate));
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
            fake,
            mix,
            addresses,
            url,
            requests,
        }
    }

    pub(crate) fn setup(&self) -> Setup {
        let plan = |rate| Plan {
            schedule: Schedule::constant(Rate::per_second(rate), Duration::from_mins(1)),
            warm_up: Duration::ZERO,
            mix: self.mix.clone(),
            network: Network::default(),
            expectations: Expectations::default(),
            timeout: Duration::from_secs(5),
            connections: 20,
            max_in_flight: 1000,
            max_connection_age: Some(Duration::from_secs(3)),
            max_idle: Duration::from_secs(2),
            slowest: 10,
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
            start_wait: Duration::ZERO,
            deadlines: Deadlines {
                settle: 10.0,
                scale_up: 10.0,
                plateau: 5.0,
                scale_down: 15.0,
            },
            nodes: None,
        }
    }

    pub(crate) async fn run(&self, interrupt: &mut Interrupt) -> ScaleReport {
        let recording = drive(&self.fake.cluster, &self.setup(), interrupt, &mut |_| ())
            .await
            .unwrap();
        judge(recording)
    }
}

/// Judges a recording, and validates the report against its JSON Schema.
pub(crate) fn judge(recording: Recording) -> ScaleReport {
    let config = ScaleConfig {
        namespace: "sample-app".to_owned(),
        context: None,
        targets: Vec::new(),
        rate: 280.0,
        tail_rate: 20.0,
        arrivals: Spacing::Even,
        seed: 1,
    };
    let bounds = Bounds {
        max_lag: Duration::from_secs(1),
        max_failed: MaxFailed::Count(0),
    };
    let report = ScaleReport::of(config, vec![ScaleRun::of(Vec::new(), recording, bounds, &[])]);
    schema::report(&serde_json::to_vec(&report).unwrap());
    report
}

/// Scales without delay. The metric is the nominal rate closest to the measured one, which jitters over 300 ms. The rate falls only
/// if it is low twice: a busy machine delays the requests of one interval to the next one.
pub(crate) fn follow(state: &mut ClusterState, rate: f64) {
    let measured = rate;
    let rate = measured.max(state.last_rate);
    state.last_rate = measured;
    let nominal = [0.0, 20.0, 280.0]
        .into_iter()
        .min_by(|first, second| (rate - first).abs().total_cmp(&(rate - second).abs()));
    state.metric_sum = nominal.unwrap();
    state.counted += measured;
    state.scraped = state.counted;
    let pods = match state.metric_sum {
        ..=100.0 => 2,
        _ => 6,
    };
    (state.desired, state.pods) = (pods, pods);
}
