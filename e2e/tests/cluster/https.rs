//! HTTPS at the node port: with the certificate that each pod makes, and with that of a Secret.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{SHORT_CERTIFICATE, deploy_changed, eventually, kubectl, succeed, with_diagnostics};
use testbed::wait;

use crate::prometheus;

/// `PUT /jobs` with curl, on a new connection. Returns the body, and the version of HTTP.
fn put_jobs(flags: &[&str]) -> Result<String> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--max-time", "20"])
        .args(["--request", "PUT", "--header", "Authorization: mytoken"])
        .args(["--write-out", "HTTP/%{http_version}"])
        .args(flags);
    succeed(curl.arg("https://127.0.0.1:30443/jobs"))
}

fn jobs(version: &str) -> String {
    format!("Jobs:\nTitle: Devops\nDescription: Awesome\nHTTP/{version}")
}

#[test]
fn put_jobs_is_answered_at_the_node_port() {
    with_diagnostics(|| {
        deploy_changed(SHORT_CERTIFICATE)?;
        // A pod is ready a moment before kube-proxy routes to it.
        wait::until("a response", Duration::from_secs(10), || {
            put_jobs(&["--insecure"])
        })?;
        for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let answer = put_jobs(&["--insecure", flag])?;
            ensure!(answer == jobs(version), "{flag}: {answer}");
        }
        expect_refused(&[])
    });
}

/// Expects that curl does not accept the certificate of any pod: each of 20 connections reaches one of the two pods.
fn expect_refused(flags: &[&str]) -> Result<()> {
    for _ in 0..20 {
        let error = put_jobs(flags).err().map(|error| format!("{error:#}"));
        let error = error.unwrap_or_default();
        ensure!(
            error.contains("SSL certificate"),
            "curl accepted a certificate, or failed for another reason: {error}"
        );
    }
    Ok(())
}

/// Returns the uid of each pod of app-a, with the number of restarts of its containers.
fn pods() -> Result<BTreeSet<String>> {
    let path =
        "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}";
    let app_a = "--selector=app.kubernetes.io/name=app-a";
    let pods = kubectl(&["-n", "sample-app", "get", "pods", app_a, "-o", path])?;
    Ok(pods.lines().map(str::to_owned).collect())
}

/// Makes the kubelets look at the Secrets of app-a now, and not within the next minute and a half: they do so when a pod changes.
fn refresh_secrets(reason: &str) -> Result<()> {
    let annotation = format!("secrets-refreshed={reason}");
    let app_a = "--selector=app.kubernetes.io/name=app-a";
    kubectl(&[
        "-n",
        "sample-app",
        "annotate",
        "pods",
        app_a,
        "--overwrite",
        &annotation,
    ])
    .map(drop)
}

#[test]
fn a_secret_replaces_the_self_signed_certificates_without_a_restart() {
    with_diagnostics(|| {
        deploy_changed(SHORT_CERTIFICATE)?;
        let folder = tempfile::tempdir()?;
        let file = |name: &str| folder.path().join(name).display().to_string();
        let (certificate, key) = (file("tls.crt"), file("tls.key"));
        let mut openssl = Command::new("openssl");
        openssl
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
            ])
            .args(["-nodes", "-days", "1", "-subj", "/CN=app"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-keyout", &key, "-out", &certificate]);
        succeed(&mut openssl)?;
        let secret = ["-n", "sample-app", "create", "secret", "tls", "app-a-tls"];
        let files = [format!("--cert={certificate}"), format!("--key={key}")];
        let files = files.each_ref().map(String::as_str);
        let before = pods()?;
        kubectl(&[&secret[..], &files].concat())?;
        let verified = refresh_secrets("created").and_then(|()| {
            eventually("every pod uses the certificate of the Secret", || {
                // Each connection reaches one of the two pods.
                for _ in 0..20 {
                    let answer = put_jobs(&["--cacert", &certificate])?;
                    ensure!(answer == jobs("2"), "{answer}");
                }
                Ok(())
            })?;
            // The certificate is valid for a day.
            eventually("Prometheus reports the end of its validity", || {
                let query = r#"ALERTS{alertname="CertificateExpires",alertstate="firing"}"#;
                let value = prometheus::query(query)?;
                ensure!(value > 0.0, "{query} is {value}");
                Ok(())
            })
        });
        // Later tests expect the overlay as it is, also after a failure.
        let deleted = kubectl(&["-n", "sample-app", "delete", "secret", "app-a-tls"]);
        verified?;
        deleted?;
        refresh_secrets("deleted")?;
        eventually("every pod has a self-signed certificate again", || {
            expect_refused(&["--cacert", &certificate])
        })?;
        put_jobs(&["--insecure"])?;
        let after = pods()?;
        // The HPA may have removed a pod.
        ensure!(
            !after.is_empty() && after.is_subset(&before),
            "pods have restarted: {after:?}, before {before:?}"
        );
        Ok(())
    });
}
