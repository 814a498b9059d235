//! The tests of a canary, each on a canary on which it passes, and on one that is broken in just that way.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Bytes;
use engine::{Mix, Network, Plan, Protocol, Schedule, Target, probe, units::Rate};
use http::Method;
use prover::verify::{CanaryProbe, canary_load, canary_metrics, canary_starts, canary_urls};
use tokio::time::Instant;

use crate::{
    canary_cluster::Fault,
    canary_stand::{Stand, client, within},
    scaling_cluster::ScalingCluster,
    verify::{assert_failed, assert_passed},
};

#[tokio::test]
async fn a_canary_that_restarts_or_does_not_become_ready_does_not_start() {
    let stand = Stand::new("app-a", Fault::default()).await;
    let starts = || canary_starts(&stand.cluster, &stand.options, within(2));
    assert_passed(&starts().await, "app-a-canary-1 is ready, without a restart");
    stand.fake.fault.lock().unwrap().waiting = Some("ErrImagePull");
    assert_failed(&starts().await, "app-a: the canary is not ready", "ErrImagePull");
    stand.fake.fault.lock().unwrap().restarts = 1;
    assert_failed(
        &starts().await,
        "the canary does not start",
        "exit code 64 (Error)",
    );
}

#[tokio::test]
async fn the_wire_contract_of_app_b_is_asked_directly() {
    let stand = Stand::new("app-b", Fault::default()).await;
    assert_passed(&stand.urls().await, "POST http://127.0.0.1:");
    stand.fake.fault.lock().unwrap().no_user = true;
    assert_failed(
        &stand.urls().await,
        "app-b: 1 of 5 requests",
        "the status is not 200",
    );
    stand.kubectl("echo 'error: pod not found' >&2; exit 1");
    assert_failed(
        &stand.urls().await,
        "cannot be asked directly",
        "error: pod not found",
    );
}

#[tokio::test]
async fn a_canary_without_metrics_or_that_is_slow_is_named() {
    let stand = Stand::new("app-a", Fault::default()).await;
    assert_passed(
        &stand.metrics().await,
        "http_requests_per_second has a value for it",
    );
    for (fault, reason, seen) in [
        (
            Fault {
                no_series: true,
                ..Fault::default()
            },
            "/metrics of the canary cannot be used",
            "there is no series http_requests_total",
        ),
        (
            Fault {
                counts_nothing: true,
                ..Fault::default()
            },
            "http_requests_total does not count",
            "grew by 0 in 20 requests",
        ),
        (
            Fault {
                seconds: 0.3,
                ..Fault::default()
            },
            "exceeds 200 ms",
            "average response time 302 ms",
        ),
        (
            Fault {
                unseen: true,
                ..Fault::default()
            },
            "the HPA app-a does not see the canary in http_requests_per_second",
            "no value for this pod",
        ),
    ] {
        *stand.fake.fault.lock().unwrap() = fault;
        assert_failed(&stand.metrics().await, reason, seen);
    }
}

#[tokio::test]
async fn a_canary_as_good_as_the_stable_pods_passes_after_the_window() {
    let stand = Stand::new("app-a", Fault::default()).await;
    let judged = stand.load(60).await;
    assert_passed(&judged, "failed: 0 of ");
    let observed = judged
        .figures
        .iter()
        .find(|figure| figure.name == "app-a: observed")
        .unwrap();
    assert!((19.0..40.0).contains(&observed.value), "{observed:?}");
}

#[tokio::test]
async fn a_canary_that_fails_or_is_slow_or_restarts_is_caught_within_seconds() {
    for (fault, reason, seen) in [
        (
            Fault {
                failing: 0.2,
                ..Fault::default()
            },
            "app-a: the canary is worse than the stable pods",
            "failed: ",
        ),
        (
            Fault {
                slow: 0.2,
                ..Fault::default()
            },
            "worse",
            "slower than 100 ms: ",
        ),
        (
            Fault {
                seconds: 0.02,
                ..Fault::default()
            },
            "worse",
            "average response time: 22 ms, stable pods 2 ms",
        ),
        (
            Fault {
                restarts: 1,
                ..Fault::default()
            },
            "the canary has restarted: it ended with exit code 64 (Error)",
            "after ",
        ),
    ] {
        let stand = Stand::new("app-a", fault).await;
        let started = Instant::now();
        assert_failed(&stand.load(60).await, reason, seen);
        assert!(
            started.elapsed() < Duration::from_secs(18),
            "{fault:?}: {:?}",
            started.elapsed()
        );
    }
}

#[tokio::test]
async fn a_canary_without_requests_is_not_shown_to_be_good_and_a_refused_connection_counts() {
    let stand = Stand::new(
        "app-a",
        Fault {
            counts_nothing: true,
            ..Fault::default()
        },
    )
    .await;
    let judged = stand.load(4).await;
    assert_failed(
        &judged,
        "not shown to be as good as the stable pods before the deadline",
        "failed: 0 of 0",
    );
    // Every connection of the test's own load is refused. That the pods refuse requests of users does not hide it.
    let stand = Stand::new(
        "app-a",
        Fault {
            refused: 0.3,
            ..Fault::default()
        },
    )
    .await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let target = Target::new(Method::GET, &format!("http://{address}/hello")).unwrap();
    let mix = Mix::new(vec![target], &[], &Bytes::new(), Protocol::Http1).unwrap();
    let addresses = probe(&mix, &Network::default(), Duration::from_secs(5))
        .await
        .unwrap();
    drop(listener);
    let other = ScalingCluster::start(|_, _| ()).await;
    let probe = CanaryProbe {
        plan: Plan {
            schedule: Schedule::constant(Rate::per_second(20), Duration::from_mins(2)),
            mix,
            ..other.setup().step
        },
        addresses,
    };
    let judged = canary_load(&stand.cluster, &stand.options, &probe, within(60), &mut |_| ())
        .await
        .unwrap();
    assert_failed(
        &judged,
        "requests of the test's own load get no response",
        "requests of the test's own load without a response: ",
    );
}

/// An API server that starts pods may be slow.
#[tokio::test]
async fn a_read_without_an_answer_is_repeated() {
    let fault = Fault {
        flaky: true,
        ..Fault::default()
    };
    let mut stand = Stand::new("app-b", fault).await;
    stand.fail_once("urls");
    let judged = canary_urls(&stand.cluster, &stand.options, &client(), within(20)).await;
    assert_passed(&judged, "POST http://127.0.0.1:");
    "app-a".clone_into(&mut stand.options.canaries[0].deployment);
    stand.fail_once("metrics");
    let judged = canary_metrics(&stand.cluster, &stand.options, &client(), within(20)).await;
    assert_passed(&judged, "has a value for it");
    stand.fake.fault.lock().unwrap().away = true;
    assert_failed(
        &stand.metrics().await,
        "the canary cannot be read",
        "the server is overloaded",
    );
}

#[tokio::test]
async fn a_canary_is_not_worse_because_the_cluster_gives_no_answer_for_some_seconds() {
    let fault = Fault {
        away: true,
        ..Fault::default()
    };
    let stand = Stand::new("app-a", fault).await;
    let shared = Arc::clone(&stand.fake.fault);
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(8)).await;
        shared.lock().unwrap().away = false;
    });
    assert_passed(&stand.load(60).await, "failed: 0 of ");
}

#[tokio::test]
async fn without_anything_to_compare_with_the_test_says_so_at_its_deadline() {
    for (fault, seen) in [
        (
            Fault {
                away: true,
                ..Fault::default()
            },
            "the cluster could not be read",
        ),
        (
            Fault {
                alone: true,
                ..Fault::default()
            },
            "no stable pod was ready",
        ),
    ] {
        let stand = Stand::new("app-a", fault).await;
        assert_failed(&stand.load(8).await, "could not be compared", seen);
    }
}

#[tokio::test]
async fn a_canary_that_is_not_ready_for_some_seconds_fails() {
    let fault = Fault {
        waiting: Some("the probe fails"),
        ..Fault::default()
    };
    let stand = Stand::new("app-a", fault).await;
    assert_failed(
        &stand.load(60).await,
        "for 5 seconds, the canary was not ready",
        "after ",
    );
}
