//! The chain of pods that several jobs scrape, and the maximum age of a scrape.

use wiring::Link;

use crate::{
    chain::{assert_broken, diagnose},
    cluster_state::{ClusterState, SecondTarget},
};

#[tokio::test]
async fn the_maximum_age_follows_the_scrape_interval() {
    for (interval, age, is_healthy) in [
        (Some("5s"), 29, true),
        (Some("5s"), 31, false),
        (Some("15s"), 39, true),
        (Some("15s"), 41, false),
        (Some("1m0s"), 125, true),
        (Some("1m0s"), 131, false),
        // Without an interval, the default of Prometheus applies: one minute.
        (None, 125, true),
        (None, 131, false),
    ] {
        let what = format!("a scrape and a value {age} s old with the interval {interval:?}");
        for is_sample in [false, true] {
            let diagnosis = diagnose(|state| {
                state.scrape_interval = interval;
                if is_sample {
                    state.sample_age_seconds = age;
                } else {
                    state.scrape_age = f64::from(i32::try_from(age).unwrap());
                }
            })
            .await;
            assert_eq!(diagnosis.is_healthy(), is_healthy, "{what}: {diagnosis:#?}");
        }
    }
    assert_broken(
        Link::PrometheusScrape,
        "was scraped 131 s ago; its scrape interval is 60 s",
        |state| {
            (state.scrape_age, state.scrape_interval) = (131.0, Some("1m0s"));
        },
    )
    .await;
}

/// A job that scrapes the same port of each pod for other series.
const SLOW: SecondTarget = SecondTarget {
    job: "slow",
    port: 9000,
    up: true,
    age: 2.5,
    interval: "1m0s",
};

#[tokio::test]
async fn every_job_of_a_pod_must_scrape_it() {
    let with_slow = |state: &mut ClusterState| state.second_target = Some(SLOW);
    let diagnosis = diagnose(with_slow).await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_broken(
        Link::PrometheusScrape,
        "every pod: the scrapes of pod app-a-5d8f7-1 by job sample-app fail",
        |state| {
            with_slow(state);
            state.failing_targets = 1;
        },
    )
    .await;
    assert_broken(
        Link::PrometheusScrape,
        "the scrapes of pod app-a-5d8f7-0 by job slow fail, the scrapes of pod app-a-5d8f7-1 by job slow fail",
        |state| state.second_target = Some(SecondTarget { up: false, ..SLOW }),
    )
    .await;
}

#[tokio::test]
async fn the_age_is_that_of_the_job_that_delivers_the_series() {
    let diagnosis = diagnose(|state| state.second_target = Some(SecondTarget { age: 65.0, ..SLOW })).await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    assert_broken(
        Link::PrometheusScrape,
        "pod app-a-5d8f7-0 was scraped by job sample-app 31 s ago; its scrape interval is 5 s",
        |state| (state.second_target, state.scrape_age) = (Some(SLOW), 31.0),
    )
    .await;
    assert_broken(
        Link::PodSamples,
        "is 31 s old; its scrape interval is 5 s",
        |state| (state.second_target, state.sample_age_seconds) = (Some(SLOW), 31),
    )
    .await;
    // No job delivers the series: each has its own interval.
    assert_broken(
        Link::PrometheusScrape,
        "not scraping every pod: pod app-a-5d8f7-0 was scraped by job slow 131 s ago; its scrape interval is 60 s",
        |state| {
            state.exported = "http_server_requests_total";
            state.second_target = Some(SecondTarget { age: 131.0, ..SLOW });
        },
    )
    .await;
}

#[tokio::test]
async fn a_port_without_metrics_is_a_warning() {
    let other_port = SecondTarget {
        port: 8080,
        up: false,
        ..SLOW
    };
    let diagnosis = diagnose(|state| state.second_target = Some(other_port)).await;
    assert!(diagnosis.is_healthy(), "{diagnosis:#?}");
    let warnings = &diagnosis.links[2].warnings;
    let says = "the scrapes of pod app-a-5d8f7-0 by job slow fail at 10.0.0.0:8080, which does not export";
    assert!(warnings.len() == 2 && warnings[0].contains(says), "{warnings:#?}");
}
