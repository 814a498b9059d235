//! Where the time goes between a step and its pods: three seconds and more, put into one link of the live chain, show at
//! that stage and at no other.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{chain_is_whole, deployed, loadtest, on_failure_look_around, output, printed};
use nix::sched::{CloneFlags, setns};
use serde_json::Value;
use testbed::{kubeadm::NODE_ADDRESS, paths};

use crate::chain::apply_changed;
use crate::processes::Namespace;
use crate::scaling::{URL, at_rest, prometheus};

/// What is put into a link, at least.
const DELAY: f64 = 3.0;

/// How far a stage that nothing holds up may differ between two runs on a busy machine; less than the delay.
const ALIKE: f64 = 2.0;

/// A time in seconds, and how far it is off at the most.
type Reading = (f64, f64);

/// What each stage took on the way to the first new pod of a step.
fn stages(name: &str) -> Result<BTreeMap<String, Reading>> {
    at_rest()?;
    chain_is_whole()?;
    let file = paths::target().join(format!("report/stages-{name}.json"));
    std::fs::create_dir_all(file.parent().context("no folder")?)?;
    let url = format!("{URL}/hello");
    // So far above what 2 pods are enough for, 110 a second, that a metric whose samples come late never falls below it; how
    // many pods it then takes is not asked, nor is the verdict.
    let mut scale = loadtest(&[
        "scale",
        "--url",
        &url,
        "--rate",
        "195",
        "--scale-up-deadline",
        "90s",
        "--plateau",
        "15s",
        "--tail-rate",
        "0",
    ]);
    // What an earlier run left is not taken for this one's.
    std::fs::remove_file(&file).ok();
    let output = output(scale.arg("--json").arg(&file))?;
    println!("{name}\n{}", printed(&output));
    let report: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let pods = &report["runs"][0]["time_to_scale"][0]["pods"];
    let stages = pods[0]["stages"].as_array().context("no stages")?;
    let took = |stage: &Value| -> Result<(String, Reading)> {
        let number = |what: &str| {
            stage["took"][what]
                .as_f64()
                .with_context(|| format!("{name}: {stage}"))
        };
        let stage_name = stage["stage"].as_str().context("no name")?;
        Ok((stage_name.to_owned(), (number("seconds")?, number("error")?)))
    };
    stages.iter().map(took).collect()
}

/// Each of `stages` took in both runs the same, as far as can be told.
fn are_alike(
    usual: &BTreeMap<String, Reading>,
    other: &BTreeMap<String, Reading>,
    stages: &[&str],
) -> Result<()> {
    for stage in stages {
        let ((one, one_error), (two, two_error)) = (usual[*stage], other[*stage]);
        ensure!(
            (one - two).abs() <= ALIKE + one_error + two_error,
            "{stage} took {one} ±{one_error} s, and with the delay elsewhere {two} ±{two_error} s"
        );
    }
    Ok(())
}

/// A proxy on the node that holds back every answer, as long as these tests run. Gives its address.
fn slow_proxy() -> Result<String> {
    let network = File::open(Namespace::of_the_cluster()?.network())?;
    let (told, address) = mpsc::channel();
    // The namespace is a thread's own, and what it opens stays there.
    thread::spawn(move || -> Result<()> {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        let listener = TcpListener::bind((NODE_ADDRESS, 0))?;
        told.send(listener.local_addr()?.to_string())?;
        for client in listener.incoming().flatten() {
            thread::spawn(move || hold_back(client));
        }
        Ok(())
    });
    address
        .recv_timeout(Duration::from_secs(10))
        .context("the proxy did not start")
}

/// One exchange: `GET http://host:port/path`, as clients ask a proxy.
#[expect(clippy::disallowed_methods, reason = "to be late is the point")]
fn hold_back(mut client: TcpStream) -> Result<()> {
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
        .context("no URL of a host")?;
    let mut pod = TcpStream::connect(host)?;
    pod.write_all(format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    pod.read_to_end(&mut answer)?;
    thread::sleep(Duration::from_secs_f64(DELAY));
    Ok(client.write_all(&answer)?)
}

#[test]
fn a_delay_in_one_link_shows_at_that_stage_and_at_no_other() {
    on_failure_look_around(|| {
        deployed()?;
        let usual = stages("usual")?;

        // Ready at the first probe, which comes so late.
        apply_changed((
            "base/app-a/deployment.yaml",
            "readinessProbe:\n",
            "readinessProbe:\n            initialDelaySeconds: 5\n",
        ))?;
        let slow_start = stages("slow-start")?;
        let (ready, error) = slow_start["ready"];
        ensure!(
            ready + error >= usual["ready"].0 - usual["ready"].1 + DELAY,
            "ready took {ready} ±{error} s, and {:?} without a delay",
            usual["ready"]
        );
        // Not scraped, enough, and decided: they wait for what comes every 5 or 15 s, whenever the load begins.
        are_alike(
            &usual,
            &slow_start,
            &["counted", "visible", "created", "scheduled", "started", "served"],
        )?;

        let proxy = slow_proxy()?;
        apply_changed((
            "components/monitoring/prometheus/prometheus.yaml",
            "  - job_name: sample-app\n",
            &format!("  - job_name: sample-app\n    proxy_url: http://{proxy}\n"),
        ))?;
        let slow_scrape = stages("slow-scrape")?;
        let fastest = prometheus(r#"min(scrape_duration_seconds{job="sample-app"})"#)?;
        ensure!(fastest >= DELAY, "a scrape took {fastest} s");
        let (scraped, error) = slow_scrape["scraped"];
        // Whatever was on its way when the load began does not show it; what was asked later takes that long.
        ensure!(scraped + error >= DELAY, "scraped took {scraped} ±{error} s");
        are_alike(
            &usual,
            &slow_scrape,
            &[
                "counted",
                "visible",
                "created",
                "scheduled",
                "started",
                "ready",
                "served",
            ],
        )?;
        deployed()?;
        chain_is_whole()
    });
}
