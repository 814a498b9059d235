//! The suites of `cargo xtask test`: one table, with a budget for each.

use std::time::Duration;

use anyhow::Result;
use testbed::{cluster, components, preflight, progress};

use crate::session::Session;
use crate::{cargo, images, jenkinsfile, lints, up};

/// A part of `cargo xtask test` that can run alone: `--suite NAME`.
pub(crate) struct Suite {
    /// The name on the command line and in the table of times. A suite of tests uses the nextest profile of this name.
    pub(crate) name: &'static str,
    /// What the suite checks.
    pub(crate) checks: &'static str,
    /// The time that the suite may take on 2 cores, from a clean clone with warm registries and a warm Go build cache.
    /// A suite over its budget is a warning, not a failure: machines are shared.
    pub(crate) budget: Duration,
    /// Whether the suite runs on the testbed.
    pub(crate) on_cluster: bool,
    /// Runs the suite.
    pub(crate) run: fn(&Session) -> Result<()>,
}

/// Every suite. The cheap ones come first, so that a failure shows early.
pub(crate) const SUITES: &[Suite] = &[
    Suite {
        name: "tools",
        checks: "cargo-nextest and cargo-deny are installed",
        budget: Duration::from_secs(145),
        on_cluster: false,
        run: |_| tools(),
    },
    Suite {
        name: "lints",
        checks: "format, image tags, clippy, licences and sources of dependencies",
        budget: Duration::from_secs(130),
        on_cluster: false,
        run: |_| lints::run(),
    },
    Suite {
        name: "host",
        checks: "unit tests, integration tests, rendered manifests, the Jenkinsfile",
        budget: Duration::from_mins(10),
        on_cluster: false,
        run: host,
    },
    Suite {
        name: "programs",
        checks: "the components of Kubernetes and the images build",
        budget: Duration::from_secs(330),
        on_cluster: true,
        run: programs,
    },
    Suite {
        name: "docker",
        checks: "a real Docker engine runs the images with Compose 1 and 2, and builds the same ones from the Dockerfile",
        budget: Duration::from_secs(100),
        on_cluster: true,
        run: docker,
    },
    Suite {
        name: "images",
        checks: "a real registry takes the images by digest, with signatures and lists of crates; nodes pull them",
        budget: Duration::from_mins(3),
        on_cluster: true,
        run: images,
    },
    Suite {
        name: "testbed",
        checks: "the cluster starts, recovers from kills, and leaves nothing behind",
        budget: Duration::from_secs(170),
        on_cluster: true,
        run: |session| session.cluster_tests("testbed", "test(bring_up::)"),
    },
    Suite {
        name: "chain",
        checks: "each broken link of the metrics chain is named on a live cluster, and the chain works under other names",
        budget: Duration::from_secs(270),
        on_cluster: true,
        run: |session| session.cluster_tests("chain", "test(chain::) + test(user_overlay::)"),
    },
    Suite {
        name: "pair",
        checks: "the deployed pair: metrics, storage, certificate renewal, load from several pods",
        budget: Duration::from_secs(220),
        on_cluster: true,
        run: pair,
    },
    Suite {
        name: "policy",
        checks: "only the documented connections are possible, on real pods; HTTPS, Pod Security, permissions; the overlays and permissions for EKS are valid",
        budget: Duration::from_mins(4),
        on_cluster: true,
        run: policy,
    },
    Suite {
        name: "delivery",
        checks: "`loadtest verify` names what is wrong with broken deployments; the pipeline tries a canary, keeps, rolls back, and runs again, and brings a signed release to prod on nodes in three zones; the workflow of GitHub Actions runs, Jenkins is admitted",
        budget: Duration::from_mins(10),
        on_cluster: true,
        run: delivery,
    },
    Suite {
        name: "scaling",
        checks: "pods scale out and in without a lost request, and the report says where the time goes",
        budget: Duration::from_secs(560),
        on_cluster: true,
        run: scaling,
    },
    Suite {
        name: "nodes",
        checks: "real nodes join, reach each other, fail and leave, and nothing of them stays",
        budget: Duration::from_secs(190),
        on_cluster: true,
        run: nodes,
    },
    Suite {
        name: "karpenter",
        checks: "pods and nodes scale out and in without a lost request, and nodes that fail are replaced",
        budget: Duration::from_secs(500),
        on_cluster: true,
        run: karpenter,
    },
];

fn tools() -> Result<()> {
    cargo::DENY.install()?;
    cargo::NEXTEST.install().map(drop)
}

fn host(session: &Session) -> Result<()> {
    progress::step(
        "build kubectl, kustomize, kube-score and eksctl's validation, which render and check the manifests",
        || {
            components::build(&[
                components::KUBECTL,
                components::KUBE_SCORE,
                components::EKSCTL_CHECK,
            ])?;
            components::build(&components::KUSTOMIZE)
        },
    )?;
    progress::step("test the cloud provider of Karpenter", || {
        components::test(components::KARPENTER)
    })?;
    jenkinsfile::test()?;
    // Before the tests: the test of `xtask up` builds the pair, and other tests measure times meanwhile.
    up::build()?;
    session.host_tests()
}

fn programs(session: &Session) -> Result<()> {
    // Before the tests, so that each step shows its progress and no test sees the machine change.
    preflight::install_packages()?;
    components::build(components::ALL)?;
    // The manifests name the images by these tags.
    images::check_tags()?;
    images::build(session.profile)
}

fn docker(session: &Session) -> Result<()> {
    preflight::install(
        &[("docker.io", "dockerd"), ("docker-compose", "docker-compose")],
        "the other suites need no Docker: `--suite NAME`",
    )?;
    // Before the tests, because nextest stops a test after 5 minutes.
    components::build(&[components::COMPOSE])?;
    session.cluster_tests("docker", "binary(docker)")
}

fn images(session: &Session) -> Result<()> {
    // Before the tests, because nextest stops a test after 5 minutes.
    components::build(&[components::CRANE, components::REGISTRY, components::COSIGN])?;
    cargo::CYCLONEDX.install()?;
    let tests = "binary(images) + (binary(cluster) & test(registry::))";
    // The second build of everything takes longer than all other tests.
    let filter = if session.soak {
        tests.to_owned()
    } else {
        format!("({tests}) - test(reproducible::)")
    };
    let outcome = session.cluster_tests("images", &filter);
    // The other suites measure on a cluster with one node.
    outcome.and(cluster::down())
}

fn delivery(session: &Session) -> Result<()> {
    // Before the tests, because nextest stops a test after 5 minutes.
    components::build(&[
        components::ACT,
        components::COSIGN,
        components::CRANE,
        components::KARPENTER,
        components::KUBE_NETWORK_POLICIES,
        components::REGISTRY,
    ])?;
    preflight::install(
        &[("openssl", "openssl")],
        "the other suites do not need it: `--suite NAME`",
    )?;
    let tests = "binary(actions) + test(jenkins::) + test(pipeline::) + test(verify::) + test(without_aws::)";
    // All bad releases take several minutes.
    let filter = if session.soak {
        tests.to_owned()
    } else {
        format!("({tests}) - test(pipeline::canary::each_)")
    };
    let outcome = session.cluster_tests("delivery", &filter);
    // The other suites measure on a cluster with one node, and without Karpenter.
    outcome.and(cluster::down())
}

fn pair(session: &Session) -> Result<()> {
    let filter = "test(certificate::) + test(distributed::) + test(metrics::) + test(storage::)";
    session.cluster_tests("pair", filter)
}

fn scaling(session: &Session) -> Result<()> {
    // The proof runs with enforced policies.
    components::build(&[components::KUBE_NETWORK_POLICIES])?;
    session.cluster_tests("scaling", "test(scaling::)")
}

/// Runs on clusters of its own, with more nodes than the other suites measure on, and without enforced policies.
fn nodes(session: &Session) -> Result<()> {
    cluster::down()?;
    let outcome = session.cluster_tests("nodes", "test(nodes::)");
    outcome.and(cluster::down())
}

fn karpenter(session: &Session) -> Result<()> {
    // Before the tests, so that they measure no build.
    components::build(&[components::KARPENTER, components::KUBE_NETWORK_POLICIES])?;
    session.cluster_tests("karpenter", "test(karpenter::)")
}

fn policy(session: &Session) -> Result<()> {
    // Before the tests, because nextest stops a test after 5 minutes.
    components::build(&[components::KUBE_NETWORK_POLICIES, components::EKSCTL_CHECK])?;
    preflight::install(
        &[
            ("curl", "curl"),
            ("openssl", "openssl"),
            ("python3-venv", "python3"),
        ],
        "the other suites need none of them: `--suite NAME`",
    )?;
    // The tests of HTTPS and of the overlays for EKS deploy again, so they cannot run beside the renewal of the certificate in the
    // suite `pair`.
    session.cluster_tests(
        "policy",
        "test(eks::) + test(https::) + test(iam::) + test(policy::)",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budgets_leave_room_in_the_90_minutes_that_ci_has() {
        let sum: Duration = SUITES.iter().map(|suite| suite.budget).sum();
        assert!(sum <= Duration::from_mins(78), "{sum:?}");
    }
}
