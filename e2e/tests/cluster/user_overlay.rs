//! A user's overlay on top of the local one: with other names, in other namespaces.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use e2e::{apply_overlay, deploy, kubectl, loadtest, request, succeed, wait_for_chain, with_diagnostics};

/// The overlay, below the root of the workspace.
const USER_OVERLAY: &str = "kubernetes/tests/overlays/two-namespaces";

/// Deploys the user's overlay. Waits until its HPAs read their metric, and sends a request through both services.
fn deploy_user_overlay() -> Result<()> {
    kubectl(&["apply", "-k", USER_OVERLAY])?;
    let names = [
        "--namespace",
        "team-app",
        "--prometheus",
        "team-monitoring/team-prometheus-one:9090",
        "--hpa",
        "team-app-a-one",
        "--hpa",
        "team-app-b-one",
    ];
    succeed(loadtest(&["chain", "--wait", "180s"]).args(names))?;
    let active = "--for=condition=ScalingActive=True";
    kubectl(&["-n", "team-app", "wait", active, "hpa", "--all", "--timeout=60s"])?;
    let app_a = SocketAddr::from(([127, 0, 0, 1], 30_080));
    let response = request(app_a, "PUT", "/jobs", &[("Authorization", "mytoken")])?;
    ensure!(
        response.starts_with("HTTP/1.1 200 ") && response.contains("x-served-by: team-app-a-one-"),
        "{response}"
    );
    Ok(())
}

#[test]
fn other_names_and_namespaces_work() {
    with_diagnostics(|| {
        deploy()?;
        // A cluster has one custom metrics API, and a node port belongs to one Service. The user's overlay takes over both.
        kubectl(&["-n", "sample-app", "delete", "service", "app-a"])?;
        kubectl(&["-n", "monitoring", "delete", "service", "prometheus"])?;
        let works = deploy_user_overlay();
        // Later tests need the local overlay, also after a failure. The namespaces disappear in the meantime.
        let restored = kubectl(&["delete", "-k", USER_OVERLAY, "--wait=false"])
            .and_then(|_| apply_overlay())
            .and_then(|()| wait_for_chain());
        works.and(restored)?;
        let namespaces = ["namespace/team-app", "namespace/team-monitoring"];
        kubectl(&[&["wait", "--for=delete", "--timeout=120s"][..], &namespaces].concat()).map(drop)
    });
}
