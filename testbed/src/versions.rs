//! The versions of the components. The `go.mod` of each component pins its version, and this module reads it.

use std::fmt;

/// The texts of all `go.mod` files below `testbed/go`.
const GO_MODS: &[&str] = &[
    include_str!("../go/kubernetes/go.mod"),
    include_str!("../go/etcd/go.mod"),
    include_str!("../go/coredns/go.mod"),
    include_str!("../go/pause/go.mod"),
    include_str!("../go/prometheus/go.mod"),
    include_str!("../go/prometheus-adapter/go.mod"),
    include_str!("../go/kustomize-oldest/go.mod"),
    include_str!("../go/kustomize-newest/go.mod"),
    include_str!("../go/kube-network-policies/go.mod"),
    include_str!("../go/kube-score/go.mod"),
    include_str!("../go/karpenter/go.mod"),
    include_str!("../go/karpenter-aws/go.mod"),
    include_str!("../go/aws-load-balancer-controller/go.mod"),
    include_str!("../go/eksctl/go.mod"),
    include_str!("../go/act/go.mod"),
    include_str!("../go/crane/go.mod"),
    include_str!("../go/distribution/go.mod"),
    include_str!("../go/cosign/go.mod"),
    include_str!("../go/compose/go.mod"),
];

/// The upstream tag of the pause image, the default of kubeadm 1.35. The testbed's own pause program has the same
/// interface.
pub const PAUSE: &str = "3.10.1";

/// The version of a Go module that a `go.mod` requires.
fn pinned(module: &str) -> &'static str {
    GO_MODS
        .iter()
        .flat_map(|go_mod| go_mod.lines())
        .map(|line| line.trim().trim_start_matches("require "))
        .find_map(|line| line.strip_prefix(module)?.strip_prefix(' '))
        .and_then(|rest| rest.split_whitespace().next())
        .unwrap_or_else(|| panic!("no go.mod below testbed/go requires {module}"))
}

/// A version of Go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoVersion([u32; 3]);

impl GoVersion {
    /// Parses `1.26.8`, `1.26`, or a preview of either (`1.27rc1`, `1.27-3f1a2b`). A preview counts as its release.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let end = text
            .find(|character: char| !character.is_ascii_digit() && character != '.')
            .unwrap_or(text.len());
        let mut parts = text[..end].split('.');
        let (major, minor) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let patch = parts.next().map_or(Ok(0), str::parse).ok()?;
        Some(Self([major, minor, patch]))
    }
}

impl fmt::Display for GoVersion {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([major, minor, patch]) = self;
        write!(formatter, "{major}.{minor}.{patch}")
    }
}

/// The oldest Go that builds every component: the highest version that a `go.mod` requires.
///
/// # Panics
/// When no `go.mod` has a `go` directive.
#[must_use]
pub fn minimum_go() -> GoVersion {
    GO_MODS
        .iter()
        .flat_map(|go_mod| go_mod.lines())
        .filter_map(|line| GoVersion::parse(line.strip_prefix("go ")?.trim()))
        .max()
        .expect("every go.mod below testbed/go has a go directive")
}

/// The tag of Kubernetes: `v1.35.4`.
#[must_use]
pub fn kubernetes() -> &'static str {
    pinned("k8s.io/kubernetes")
}

/// The tag of the etcd image: the version of the module without the `v`, and the revision of the image: `3.6.16-0`.
#[must_use]
pub fn etcd() -> String {
    format!(
        "{}-0",
        pinned("go.etcd.io/etcd/server/v3").trim_start_matches('v')
    )
}

/// The tag of CoreDNS: `v1.14.3`.
#[must_use]
pub fn coredns() -> &'static str {
    pinned("github.com/coredns/coredns")
}

/// The tag of prometheus-adapter: `v0.12.0`.
#[must_use]
pub fn prometheus_adapter() -> &'static str {
    pinned("sigs.k8s.io/prometheus-adapter")
}

/// The tag of Prometheus: `v3.16.0`. The version of its Go module is then v0.316.0.
#[must_use]
pub fn prometheus() -> String {
    let module = pinned("github.com/prometheus/prometheus");
    let mut parts = module.trim_start_matches("v0.").split('.');
    let combined: u32 = parts
        .next()
        .and_then(|part| part.parse().ok())
        .unwrap_or_default();
    format!(
        "v{}.{}.{}",
        combined / 100,
        combined % 100,
        parts.next().unwrap_or("0")
    )
}

/// The tag of kube-network-policies: `v0.8.0`.
#[must_use]
pub fn kube_network_policies() -> &'static str {
    pinned("sigs.k8s.io/kube-network-policies")
}

/// The tag of Karpenter: `v1.14.0`.
#[must_use]
pub fn karpenter() -> &'static str {
    pinned("sigs.k8s.io/karpenter")
}

/// The tag of Karpenter's provider for AWS, which has the same controllers: `v1.14.0`. It is also the version of its chart.
#[must_use]
pub fn karpenter_for_aws() -> &'static str {
    pinned("github.com/aws/karpenter-provider-aws")
}

/// The tag of eksctl: `v0.215.0`.
#[must_use]
pub fn eksctl() -> &'static str {
    pinned("github.com/weaveworks/eksctl")
}

/// The tag of Docker Compose 2: `v2.40.3`.
#[must_use]
pub fn compose() -> &'static str {
    pinned("github.com/docker/compose/v2")
}

/// The tag of act: `v0.2.89`.
#[must_use]
pub fn act() -> &'static str {
    pinned("github.com/nektos/act")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tags_are_those_of_the_registry() {
        assert!(
            super::kubernetes().starts_with("v1.35."),
            "{}",
            super::kubernetes()
        );
        assert!(super::prometheus().starts_with("v3."), "{}", super::prometheus());
        assert!(super::etcd().starts_with("3.6."), "{}", super::etcd());
        assert_eq!(super::prometheus_adapter(), "v0.12.0");
        assert!(super::coredns().starts_with("v1."), "{}", super::coredns());
        assert_eq!(super::karpenter(), super::karpenter_for_aws());
    }

    #[test]
    fn files_that_repeat_a_version_agree_with_the_pinned_one() {
        let kubernetes = format!("--kubernetes-version={}\n", super::kubernetes());
        let kube_proxy = format!("image: registry.k8s.io/kube-proxy:{}\n", super::kubernetes());
        let agent = format!(
            "image: registry.k8s.io/networking/kube-network-policies:{}\n",
            super::kube_network_policies()
        );
        let agent_manifest =
            include_str!("../../kubernetes/clusters/testbed/network-policy-agent/daemon-set.yaml");
        let prometheus = format!("image: quay.io/prometheus/prometheus:{}\n", super::prometheus());
        let rust = env!("CARGO_PKG_RUST_VERSION");
        let go = super::minimum_go();
        for (file, text, version) in [
            (
                "docker-compose.yml",
                include_str!("../../docker-compose.yml"),
                prometheus,
            ),
            (
                "daemon-set.yaml of the network policy agent",
                agent_manifest,
                kube_proxy,
            ),
            (
                "daemon-set.yaml of the network policy agent",
                agent_manifest,
                agent,
            ),
            (
                "kubernetes/clusters/minikube/README.md",
                include_str!("../../kubernetes/clusters/minikube/README.md"),
                kubernetes,
            ),
            (
                "Dockerfile",
                include_str!("../../Dockerfile"),
                format!("FROM rust:{rust}-bookworm AS build\n"),
            ),
            (
                "README.md",
                include_str!("../../README.md"),
                format!("Rust {rust}, Go {go} or newer"),
            ),
            (
                "docs/eks.md",
                include_str!("../../docs/eks.md"),
                format!("--version {}", super::karpenter_for_aws().trim_start_matches('v')),
            ),
            (
                "docs/eks.md",
                include_str!("../../docs/eks.md"),
                format!("eksctl {} or newer", super::eksctl().trim_start_matches('v')),
            ),
            (
                "docs/docker.md",
                include_str!("../../docs/docker.md"),
                format!("Compose {}", super::compose().trim_start_matches('v')),
            ),
            (
                "docs/delivery.md",
                include_str!("../../docs/delivery.md"),
                format!(
                    "[act](https://github.com/nektos/act) {}",
                    super::act().trim_start_matches('v')
                ),
            ),
        ] {
            assert!(text.contains(&version), "{file} does not contain {version:?}");
        }
    }
}
