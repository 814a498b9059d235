//! What the project is for: the pair, applied as users apply it, scales out and in and loses no request.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use e2e::{
    ask, chain_is_whole, deployed, eventually, kubectl, loadtest, on_failure_look_around, rolled_out,
    succeed, xtask,
};
use serde_json::Value;
use testbed::{cluster, kubeadm, paths, wait};

use crate::processes::Namespace;
use crate::report::{proved, scale};

pub(crate) const URL: &str = "http://127.0.0.1:30080";

/// Prometheus' answer to an instant query: the value of its only sample.
pub(crate) fn prometheus(query: &str) -> Result<f64> {
    // The characters that these queries have and a URL may not.
    let encoded = [
        ('%', "%25"),
        (' ', "%20"),
        ('"', "%22"),
        ('{', "%7B"),
        ('}', "%7D"),
        ('=', "%3D"),
        ('[', "%5B"),
        (']', "%5D"),
    ]
    .iter()
    .fold(query.to_owned(), |text, (plain, encoded)| {
        text.replace(*plain, encoded)
    });
    let path =
        format!("/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query={encoded}");
    let answer: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path])?)?;
    let value = answer["data"]["result"][0]["value"][1]
        .as_str()
        .context("no sample")?;
    Ok(value.parse()?)
}

/// Both services at their minimum, as an earlier test's load may not have left them.
pub(crate) fn at_rest() -> Result<()> {
    eventually("both Deployments at two replicas", || {
        for name in ["app-a", "app-b"] {
            let replicas = kubectl(&[
                "-n",
                "sample-app",
                "get",
                "deployment",
                name,
                "-o",
                "jsonpath={.status.replicas}/{.status.readyReplicas}",
            ])?;
            ensure!(replicas == "2/2", "{name} has {replicas}");
        }
        Ok(())
    })
}

#[test]
fn a_an_idle_pair_counts_no_request_although_it_is_probed_and_scraped() {
    on_failure_look_around(|| {
        deployed()?;
        // Counters begin with their process: new pods have served nothing yet.
        for name in ["deployment/app-a", "deployment/app-b"] {
            kubectl(&["-n", "sample-app", "rollout", "restart", name])?;
        }
        rolled_out()?;
        at_rest()?;
        chain_is_whole()?;
        eventually("ten scrapes of each of the four pods", || {
            let scrapes = prometheus(r#"min(count_over_time(up{namespace="sample-app"}[2m]))"#)?;
            ensure!(scrapes >= 10.0, "the youngest pod has {scrapes}");
            let pods = prometheus(r#"count(up{namespace="sample-app"} == 1)"#)?;
            ensure!(pods >= 4.0, "{pods} pods are scraped");
            Ok(())
        })?;
        let requests = prometheus(r#"sum(http_requests_total{namespace="sample-app"})"#)?;
        ensure!(
            requests == 0.0,
            "{requests} requests were counted on pods that nobody asked anything"
        );
        Ok(())
    });
}

#[test]
fn b_the_pair_answers_on_the_local_network() {
    on_failure_look_around(|| {
        deployed()?;
        let address = URL.trim_start_matches("http://").parse()?;
        // A pod is ready some moments before the node's network leads to it.
        let hello = wait::until("an answer", Duration::from_secs(10), || {
            ask(address, "GET", "/hello", &[])
        })?;
        ensure!(
            hello.starts_with("HTTP/1.1 200") && hello.ends_with("Hello there"),
            "{hello}"
        );
        ensure!(hello.to_lowercase().contains("x-served-by: app-a-"), "{hello}");
        let jobs = ask(address, "PUT", "/jobs", &[("Authorization", "mytoken")])?;
        ensure!(
            jobs.ends_with("Jobs:\nTitle: Devops\nDescription: Awesome\n"),
            "{jobs}"
        );
        let refused = ask(address, "PUT", "/jobs", &[("Authorization", "wrong")])?;
        ensure!(
            refused.starts_with("HTTP/1.1 401") && refused.ends_with("fail"),
            "{refused}"
        );
        Ok(())
    });
}

/// Each pod's value of a metric, in thousandths, as the HPA would get it.
fn custom_metric(metric: &str) -> Result<Vec<(String, f64)>> {
    let path = format!(
        "/apis/custom.metrics.k8s.io/v1beta1/namespaces/sample-app/pods/*/{metric}?labelSelector=app.kubernetes.io/name%3Dapp-a"
    );
    let list: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path])?)?;
    let items = list["items"].as_array().context("no list")?;
    let value_of = |item: &Value| {
        let pod = item["describedObject"]["name"].as_str().context("no pod")?;
        let value = item["value"].as_str().context("no value")?;
        let thousandths = match value.strip_suffix('m') {
            Some(thousandths) => thousandths.parse()?,
            None => value.parse::<f64>()? * 1000.0,
        };
        Ok((pod.to_owned(), thousandths))
    };
    items.iter().map(value_of).collect()
}

#[test]
fn b_the_latency_of_each_pod_is_served_and_goes_when_nobody_asks() {
    on_failure_look_around(|| {
        deployed()?;
        at_rest()?;
        // What each of the two is, in the words of Prometheus; the window is the rules' own.
        let duration = |part: &str, pod: &str| {
            format!(r#"rate(http_request_duration_seconds_{part}{{pod="{pod}"}}[30s])"#)
        };
        let average = |pod: &str| format!("sum({}) / sum({})", duration("sum", pod), duration("count", pod));
        let p99 = |pod: &str| {
            format!(
                "histogram_quantile(0.99, sum by (le) ({}))",
                duration("bucket", pod)
            )
        };
        let url = format!("{URL}/jobs");
        let load = [
            "run",
            &url,
            "-m",
            "PUT",
            "-H",
            "Authorization: mytoken",
            "-q",
            "100",
            "-z",
            "30s",
        ];
        succeed(&mut loadtest(&load))?;
        let agree = |metric: &str, query: &dyn Fn(&str) -> String| {
            eventually(&format!("{metric} of both pods"), || {
                let served = custom_metric(metric)?;
                ensure!(served.len() == 2, "{served:?}");
                for (pod, served) in served {
                    let seconds = prometheus(&query(&pod))?;
                    // The API cuts off what is less than a thousandth, and the window has moved on since.
                    ensure!(
                        (served - 1000.0 * seconds).abs() < 1.5,
                        "{pod}: {served} thousandths of a second, and Prometheus says {seconds} s"
                    );
                }
                Ok(())
            })
        };
        agree("http_request_duration_seconds_average", &average)?;
        agree("http_request_duration_seconds_p99", &p99)?;
        for metric in [
            "http_request_duration_seconds_average",
            "http_request_duration_seconds_p99",
        ] {
            // A 0 would say that it is fast.
            eventually(&format!("no {metric} of pods without requests"), || {
                match custom_metric(metric) {
                    Ok(served) => ensure!(served.is_empty(), "{served:?}"),
                    Err(error) => ensure!(error.to_string().contains("NotFound"), "{error:#}"),
                }
                Ok(())
            })?;
        }
        Ok(())
    });
}

#[test]
fn c_a_step_of_load_takes_app_a_from_two_pods_to_eight_and_back_three_times() {
    on_failure_look_around(|| {
        deployed()?;
        at_rest()?;
        let url = format!("{URL}/hello");
        for round in 1..=3 {
            scale(
                &format!("scale-{round}"),
                &[("app-a", 8)],
                &["--url", &url, "--rate", "392"],
            )?;
        }
        Ok(())
    });
}

#[test]
fn d_a_mix_with_jobs_scales_both_services() {
    on_failure_look_around(|| {
        deployed()?;
        at_rest()?;
        let (hello, jobs) = (format!("53 GET {URL}/hello"), format!("47 PUT {URL}/jobs"));
        // 47 of 100 requests ask app_b as well: 184 a second are 4 pods at 50, in the middle between 165, up to which 3
        // would do, and 200. app_a's few connections to app_b make what app_b's pods see noisy.
        let load = [
            "--target",
            &hello,
            "--target",
            &jobs,
            "--header",
            "Authorization: mytoken",
            "--rate",
            "392",
        ];
        let expected = ["--expect", "app-a=392", "--expect", "app-b=184.24"];
        scale(
            "scale-mix",
            &[("app-a", 8), ("app-b", 4)],
            &[load.as_slice(), &expected].concat(),
        )
    });
}

#[test]
fn e_an_apply_over_a_running_pair_changes_nothing() {
    on_failure_look_around(|| {
        deployed()?;
        // Not what kubectl prints: it calls every PodDisruptionBudget "configured", whose spec it always replaces whole.
        let state = || {
            let kinds = "deployments,replicasets,services,configmaps,serviceaccounts,hpa,pdb,roles,rolebindings,apiservices";
            let columns = "custom-columns=:.kind,:.metadata.namespace,:.metadata.name,:.metadata.uid,:.metadata.generation";
            kubectl(&["get", kinds, "-A", "-o", columns])
        };
        let before = state()?;
        kubectl(&["apply", "-k", "kubernetes/overlays/local"])?;
        let after = state()?;
        ensure!(before == after, "before:\n{before}\nafter:\n{after}");
        Ok(())
    });
}

#[test]
fn f_a_delete_leaves_nothing_and_an_apply_works_again() {
    on_failure_look_around(|| {
        deployed()?;
        kubectl(&["delete", "-k", "kubernetes/overlays/local", "--timeout=180s"])?;
        eventually("an empty cluster", || {
            let kinds = "namespaces,clusterroles,clusterrolebindings,apiservices";
            let all = kubectl(&["get", kinds, "-o", "name"])?
                + &kubectl(&["-n", "kube-system", "get", "rolebindings", "-o", "name"])?;
            let left: Vec<_> = all
                .lines()
                // Kubernetes has a role of that name itself.
                .filter(|name| !name.contains("/system:"))
                .filter(|name| {
                    ["sample-app", "monitoring", "custom", "prometheus", "serving-cert"]
                        .iter()
                        .any(|ours| name.contains(ours))
                })
                .collect();
            ensure!(left.is_empty(), "still there: {left:?}");
            Ok(())
        })?;
        deployed()?;
        chain_is_whole()
    });
}

#[test]
fn g_the_demo_runs_on_a_cluster_of_the_kubeconfig() {
    on_failure_look_around(|| {
        deployed()?;
        at_rest()?;
        let tools = tempfile::tempdir()?;
        // The testbed under the name of a kind cluster, while another cluster is the current one: what goes astray fails.
        let kubeconfig = tools.path().join("kubeconfig");
        std::fs::copy(paths::kubeconfig(), &kubeconfig)?;
        let config = |arguments: &[&str]| {
            let mut command = cluster::kubectl();
            succeed(
                command
                    .env("KUBECONFIG", &kubeconfig)
                    .arg("config")
                    .args(arguments),
            )
        };
        let own = config(&["current-context"])?;
        config(&["rename-context", own.trim(), "kind-own"])?;
        config(&["set-cluster", "other", "--server", "https://127.0.0.1:1"])?;
        config(&["set-context", "other", "--cluster", "other"])?;
        config(&["use-context", "other"])?;

        // kind itself needs a container engine. Its one command here brings an archive to the node, as it would.
        let loaded = tools.path().join("loaded");
        let kind = format!(
            "#!/bin/sh -eu\n[ \"$1 $2 $3 $4\" = 'load image-archive --name own' ]\n\"$XTASK\" cluster load \"$5\"\nbasename \"$5\" >> {}\n",
            loaded.display()
        );
        executable(&tools.path().join("kind"), &kind)?;
        std::os::unix::fs::symlink(cluster::kubectl().get_program(), tools.path().join("kubectl"))?;
        let path = std::env::var("PATH")?;
        // On the cluster's own network, as a machine with kind or minikube is: there the Service's own address is reached,
        // the node's and the port that it opens, and no --url is needed.
        let mut demo = std::process::Command::new("nsenter");
        demo.current_dir(paths::workspace())
            .arg(format!("--net={}", Namespace::of_the_cluster()?.network()))
            .arg(xtask(&[]).get_program())
            .args(["demo", "--context", "kind-own", "--rate", "130"])
            .env("XTASK", xtask(&[]).get_program())
            .env("KUBECONFIG", &kubeconfig)
            .env("PATH", format!("{}:{path}", tools.path().display()));
        // 130 a second are 3 pods at 50: 2 would do up to 110, and once 3 run, 4 are not asked for below 165.
        let printed = succeed(&mut demo)?;
        ensure!(
            std::fs::read_to_string(loaded)? == "app-a.tar\napp-b.tar\nserving-cert.tar\nloadtest.tar\n",
            "{printed}"
        );
        ensure!(
            printed.contains(&format!("http://{}:30080/hello", kubeadm::NODE_ADDRESS)),
            "{printed}"
        );
        proved(&paths::target().join("report/scale.json"), &[("app-a", 3)])
    });
}

fn executable(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}
