//! The step of load, and the time of each stage. A delay in a link of the live chain must show at that stage only.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    PROOF_DEADLINE, apply_changed, apply_overlay, kubectl, loadtest, rounds, text, wait_for_chain,
    with_diagnostics,
};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use testbed::command;
use testbed::kubeadm::NODE_ADDRESS;

use super::{URL, prove_step, wait_for_minimum};
use crate::processes::Namespace;
use crate::prometheus;
use crate::report::path;

/// The delay of each scrape, in seconds.
const DELAY: f64 = 3.0;

/// The time from the start of a container to its first readiness probe, in seconds.
const FIRST_PROBE: f64 = 8.0;

/// How much an undelayed stage may differ between two runs on a busy machine, in seconds. Less than the delay.
const TOLERANCE: f64 = 2.0;

/// A duration and its largest error, both in seconds.
type Measured = (f64, f64);

/// The duration of each stage.
type Stages = BTreeMap<String, Measured>;

/// Drives a step of load against a cluster with a delay, and returns the stages of the first new pod.
fn delayed_stages(name: &str) -> Result<Stages> {
    wait_for_minimum()?;
    wait_for_chain()?;
    let file = path(name, "json");
    std::fs::create_dir_all(file.parent().context("no folder")?)?;
    let url = format!("{URL}/hello");
    // The HPA keeps 2 pods up to 102 requests/s. 195 is so far above that late samples never bring the metric below 102. The number of
    // pods and the verdict do not matter here.
    let mut scale = loadtest(&[
        "scale",
        "--url",
        &url,
        "--rate",
        "195",
        "--scale-up-deadline",
        "75s",
        "--plateau",
        "15s",
        "--tail-rate",
        "0",
    ]);
    // Otherwise the report of an earlier run could be read as the report of this run.
    std::fs::remove_file(&file).ok();
    let output = command::output(scale.arg("--json").arg(&file), PROOF_DEADLINE)?;
    println!("{name}\n{}", text(&output));
    first_pod_stages(&file)
}

/// The stages of the first new pod in a report of `loadtest scale`.
fn first_pod_stages(file: &Path) -> Result<Stages> {
    let report: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    let pods = &report["runs"][0]["time_to_scale"][0]["pods"];
    let stages = pods[0]["stages"].as_array().context("no stages")?;
    let took = |stage: &Value| -> Result<(String, Measured)> {
        let number = |what: &str| {
            stage["took"][what]
                .as_f64()
                .with_context(|| format!("{}: {stage}", file.display()))
        };
        let stage_name = stage["stage"].as_str().context("no name")?;
        Ok((stage_name.to_owned(), (number("seconds")?, number("error")?)))
    };
    stages.iter().map(took).collect()
}

/// Checks that each of `names` took the same time in both runs, within the errors and the tolerance.
fn check_same_time(usual: &Stages, delayed: &Stages, names: &[&str]) -> Result<()> {
    for name in names {
        let ((one, one_error), (two, two_error)) = (usual[*name], delayed[*name]);
        ensure!(
            (one - two).abs() <= TOLERANCE + one_error + two_error,
            "{name} took {one} ±{one_error} s without a delay, and {two} ±{two_error} s with a delay in another stage"
        );
    }
    Ok(())
}

/// Starts an HTTP proxy on the node that delays every response, for as long as this test runs. Returns its address.
fn slow_proxy() -> Result<String> {
    let network = File::open(Namespace::of_the_cluster()?.network())?;
    let (sender, address) = mpsc::channel();
    // A network namespace belongs to a thread. The sockets that the thread opens stay in that namespace.
    thread::spawn(move || -> Result<()> {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        let listener = TcpListener::bind((NODE_ADDRESS, 0))?;
        sender.send(listener.local_addr()?.to_string())?;
        for client in listener.incoming().flatten() {
            thread::spawn(move || proxy_with_delay(client));
        }
        Ok(())
    });
    address
        .recv_timeout(Duration::from_secs(10))
        .context("the proxy did not start")
}

/// Serves one request in the form that clients send to a proxy: `GET http://host:port/path`.
#[expect(clippy::disallowed_methods, reason = "the delay is the purpose")]
fn proxy_with_delay(mut client: TcpStream) -> Result<()> {
    let mut lines = BufReader::new(client.try_clone()?).lines();
    let request = lines.next().context("no request")??;
    for header in lines.by_ref() {
        if header?.is_empty() {
            break;
        }
    }
    let url = request
        .split(' ')
        .nth(1)
        .and_then(|url| url.strip_prefix("http://"));
    let (host, path) = url
        .and_then(|url| url.split_once('/'))
        .context("the request line has no absolute URL")?;
    let mut pod = TcpStream::connect(host)?;
    pod.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut response = Vec::new();
    pod.read_to_end(&mut response)?;
    thread::sleep(Duration::from_secs_f64(DELAY));
    Ok(client.write_all(&response)?)
}

/// Delays two links at once, each by another time: a scrape by [`DELAY`], and the first readiness probe by
/// [`FIRST_PROBE`]. Each delay must show at its own stage, and no other stage may change.
fn delays_show_at_their_stages(usual: &Stages) -> Result<()> {
    let proxy = slow_proxy()?;
    // The network policies do not let Prometheus connect to the proxy.
    kubectl(&["delete", "networkpolicy", "--all", "--namespace=monitoring"])?;
    apply_changed(&[
        (
            "overlays/local/kustomization.yaml",
            "  - ../../components/network-policy\n",
            "",
        ),
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "  - job_name: requests\n    ",
            &format!("  - job_name: requests\n    proxy_url: http://{proxy}\n    "),
        ),
        // A scrape through the proxy takes longer than the usual interval. The window stays four scrapes.
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "scrape_interval: 1s\n",
            "scrape_interval: 5s\n",
        ),
        (
            "components/monitoring/prometheus/prometheus.yaml",
            "scrape_timeout: 900ms\n",
            "scrape_timeout: 4500ms\n",
        ),
        ("components/custom-metrics/adapter/config.yaml", "[4s]", "[20s]"),
        (
            "base/app-a/deployment.yaml",
            "readinessProbe:\n",
            &format!("readinessProbe:\n            initialDelaySeconds: {FIRST_PROBE}\n"),
        ),
    ])?;
    let delayed = delayed_stages("stages-delayed")?;
    let fastest = prometheus::query(r#"min(scrape_duration_seconds{job="requests"})"#)?;
    ensure!(fastest >= DELAY, "a scrape took only {fastest} s");
    let (scraped, error) = delayed["scraped"];
    // A scrape in flight at the start of the load does not see the load. The next one takes the full delay.
    ensure!(scraped + error >= DELAY, "scraped took {scraped} ±{error} s");
    // A pod becomes ready at its first successful probe. The API reports `started` up to 2 s after the containers started.
    let (ready, error) = delayed["ready"];
    let least = FIRST_PROBE - 2.0;
    ensure!(
        ready + error >= least,
        "ready took {ready} ±{error} s, less than {least} s"
    );
    // Not compared: `enough` and `decided`. They wait for periods of 1, 5 and 15 s, so their time depends on when in the
    // period the load starts.
    check_same_time(
        usual,
        &delayed,
        &["counted", "visible", "created", "scheduled", "started", "served"],
    )
}

#[test]
fn a_step_of_load_scales_app_a_from_two_pods_to_eight_and_back_and_delays_show_at_their_stages() {
    with_diagnostics(|| {
        for round in 1..=rounds() {
            let name = format!("scale-{round}");
            prove_step(&name)?;
            let usual = first_pod_stages(&path(&name, "json"))?;
            delays_show_at_their_stages(&usual)?;
            apply_overlay()?;
        }
        Ok(())
    });
}
