//! Builds the components from pinned Go modules. A component is built again only when its module or its flags change.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::{paths, preflight, progress, versions};

/// A program of the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// The name of the program's file.
    pub name: &'static str,
    /// The folder below `testbed/go` whose `go.mod` pins the version.
    module: &'static str,
    /// The Go package with the main function.
    package: &'static str,
}

macro_rules! components {
    ($($constant:ident = $name:literal in $module:literal from $package:literal;)*) => {
        $(#[doc = concat!("`", $name, "`, from ", $package, ".")]
        pub const $constant: Component = Component { name: $name, module: $module, package: $package };)*
        /// Every component of the cluster.
        pub const ALL: &[Component] = &[$($constant),*];
    };
}

components! {
    KUBE_APISERVER = "kube-apiserver" in "kubernetes" from "k8s.io/kubernetes/cmd/kube-apiserver";
    KUBE_CONTROLLER_MANAGER = "kube-controller-manager" in "kubernetes" from "k8s.io/kubernetes/cmd/kube-controller-manager";
    KUBE_SCHEDULER = "kube-scheduler" in "kubernetes" from "k8s.io/kubernetes/cmd/kube-scheduler";
    KUBE_PROXY = "kube-proxy" in "kubernetes" from "k8s.io/kubernetes/cmd/kube-proxy";
    KUBEADM = "kubeadm" in "kubernetes" from "k8s.io/kubernetes/cmd/kubeadm";
    KUBELET = "kubelet" in "kubernetes" from "k8s.io/kubernetes/cmd/kubelet";
    KUBECTL = "kubectl" in "kubernetes" from "k8s.io/kubernetes/cmd/kubectl";
    ETCD = "etcd" in "etcd" from "go.etcd.io/etcd/server/v3";
    COREDNS = "coredns" in "coredns" from ".";
    PAUSE = "pause" in "pause" from ".";
    PROMETHEUS = "prometheus" in "prometheus" from "github.com/prometheus/prometheus/cmd/prometheus";
    PROMETHEUS_ADAPTER = "adapter" in "prometheus-adapter" from "sigs.k8s.io/prometheus-adapter/cmd/adapter";
}

/// The oldest kustomize that renders the manifests, and a recent one. Only the tests of the manifests run them, so they are not in
/// [`ALL`].
pub const KUSTOMIZE: [Component; 2] = [
    Component {
        name: "kustomize-oldest",
        module: "kustomize-oldest",
        package: "sigs.k8s.io/kustomize/kustomize/v5",
    },
    Component {
        name: "kustomize-newest",
        module: "kustomize-newest",
        package: "sigs.k8s.io/kustomize/kustomize/v5",
    },
];

/// The agent that enforces network policies. [`crate::network_policy`] builds it, so it is not in [`ALL`].
pub const KUBE_NETWORK_POLICIES: Component = Component {
    name: "netpol",
    module: "kube-network-policies",
    package: "sigs.k8s.io/kube-network-policies/cmd",
};

/// A linter of manifests. Only a test of the manifests runs it.
pub const KUBE_SCORE: Component = Component {
    name: "kube-score",
    module: "kube-score",
    package: "github.com/zegl/kube-score/cmd/kube-score",
};

/// eksctl's reading and validation of the files that create clusters on EKS, without AWS. Only a test of the manifests runs it.
pub const EKSCTL_CHECK: Component = Component {
    name: "eksctl-check",
    module: "eksctl",
    package: ".",
};

/// A client of registries. `cargo xtask images --push` runs it.
pub const CRANE: Component = Component {
    name: "crane",
    module: "crane",
    package: "github.com/google/go-containerregistry/cmd/crane",
};

/// A registry, for tests and for [`crate::registry`].
pub const REGISTRY: Component = Component {
    name: "registry",
    module: "distribution",
    package: ".",
};

/// Signs images, and verifies signatures. `cargo xtask images --sign` runs it.
pub const COSIGN: Component = Component {
    name: "cosign",
    module: "cosign",
    package: "github.com/sigstore/cosign/v3/cmd/cosign",
};

/// Runs workflows of GitHub Actions on this machine. Only a test runs it.
pub const ACT: Component = Component {
    name: "act",
    module: "act",
    package: "github.com/nektos/act",
};

/// Docker Compose 2, as a program of its own. Only the suite `docker` runs it.
pub const COMPOSE: Component = Component {
    name: "compose",
    module: "compose",
    package: "github.com/docker/compose/v2/cmd",
};

/// Karpenter with this project's cloud provider, which adds and removes nodes. Only a cluster that scales its nodes runs it, so it
/// is not in [`ALL`].
pub const KARPENTER: Component = Component {
    name: "karpenter",
    module: "karpenter",
    package: ".",
};

impl Component {
    /// The path of the built program.
    #[must_use]
    pub fn path(self) -> PathBuf {
        paths::binaries().join(self.name)
    }

    fn stamp_path(self) -> PathBuf {
        paths::binaries().join(format!("{}.stamp", self.name))
    }

    /// A hash of the inputs of the build. If it changes, the program is stale.
    fn fingerprint(self) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{self:?} {:?}", build_arguments(self.module)));
        self.hash_source(&mut hash)?;
        Ok(hex(&hash.finalize()))
    }

    /// A hash of the files of the module that the build reads.
    pub(crate) fn source_hash(self) -> Result<String> {
        let mut hash = Sha256::new();
        self.hash_source(&mut hash)?;
        Ok(hex(&hash.finalize()))
    }

    /// Adds `go.mod`, `go.sum` and the source without the tests to `hash`.
    fn hash_source(self, hash: &mut Sha256) -> Result<()> {
        let folder = module_directory(self.module);
        let mut files = vec![folder.join("go.mod")];
        let checksums = folder.join("go.sum");
        files.extend(checksums.exists().then_some(checksums));
        collect_sources(&folder, &mut files)?;
        files.sort();
        for file in files {
            hash.update(fs::read(&file).with_context(|| file.display().to_string())?);
        }
        Ok(())
    }

    fn is_current(self) -> Result<bool> {
        let stamp = fs::read_to_string(self.stamp_path()).unwrap_or_default();
        Ok(self.path().exists() && stamp == self.fingerprint()?)
    }
}

fn module_directory(module: &str) -> PathBuf {
    paths::workspace().join("testbed/go").join(module)
}

/// Adds the Go files below `folder` to `files`, except the tests.
fn collect_sources(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.to_string_lossy();
        if path.is_dir() {
            collect_sources(&path, files)?;
        } else if name.ends_with(".go") && !name.ends_with("_test.go") {
            files.push(path);
        }
    }
    Ok(())
}

/// The flags of `go build` for a module. They include the version: without it, kubeadm assumes v0.0.0.
fn build_arguments(module: &str) -> Vec<String> {
    let mut linker = "-s -w".to_owned();
    // The linker strips the debug information, so the compiler does not generate it: 20 % less CPU time.
    let mut arguments = vec!["-trimpath".to_owned(), "-gcflags=all=-dwarf=false".to_owned()];
    match module {
        "kubernetes" => {
            let version = versions::kubernetes();
            let mut parts = version.trim_start_matches('v').split('.');
            let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            for (name, value) in [
                ("gitVersion", version),
                ("gitMajor", major),
                ("gitMinor", minor),
                ("gitTreeState", "archive"),
            ] {
                linker = format!("{linker} -X k8s.io/component-base/version.{name}={value}");
            }
        }
        "prometheus" => {
            // Only the service discovery that the manifests use. The others add a client for each cloud.
            arguments.push("-tags=remove_all_sd,enable_kubernetes_sd,enable_dns_sd".to_owned());
            let version = versions::prometheus();
            let version = version.trim_start_matches('v');
            linker = format!("{linker} -X github.com/prometheus/common/version.Version={version}");
        }
        "karpenter" => {
            let version = versions::karpenter();
            linker = format!("{linker} -X sigs.k8s.io/karpenter/pkg/operator.Version={version}");
        }
        "compose" => {
            let version = versions::compose();
            linker = format!("{linker} -X github.com/docker/compose/v2/internal.Version={version}");
        }
        _ => {}
    }
    arguments.push(format!("-ldflags={linker}"));
    arguments
}

/// The components of `wanted` that are missing, or were built from another module version or with other flags.
///
/// # Errors
/// When a `go.mod` is missing.
pub fn missing(wanted: &[Component]) -> Result<Vec<Component>> {
    let mut missing = Vec::new();
    for component in wanted {
        if !component.is_current()? {
            missing.push(*component);
        }
    }
    Ok(missing)
}

/// Builds the missing and stale components of `wanted`. Each module is one step.
///
/// # Errors
/// When Go is missing or too old for a necessary build. When a build fails: the message contains the end of its output.
pub fn build(wanted: &[Component]) -> Result<()> {
    fs::create_dir_all(paths::binaries()).context("cannot create target/testbed/bin")?;
    // Several test processes may need the same component at the same time.
    let lock = File::create(paths::binaries().join("build.lock"))?;
    lock.lock().context("cannot lock target/testbed/bin")?;
    let mut stale = missing(wanted)?;
    if !stale.is_empty() {
        preflight::check_go()?;
    }
    while let Some(module) = stale.first().map(|component| component.module) {
        let (of_module, others): (Vec<_>, Vec<_>) = stale
            .into_iter()
            .partition(|component| component.module == module);
        let names: Vec<_> = of_module.iter().map(|component| component.name).collect();
        progress::step(&format!("build {}", names.join(", ")), || {
            build_module(module, &of_module)
        })?;
        stale = others;
    }
    Ok(())
}

fn build_module(module: &str, components: &[Component]) -> Result<()> {
    for component in components {
        let _ = fs::remove_file(component.stamp_path());
    }
    let output = tempfile::tempdir_in(paths::binaries())?;
    let mut command = go(module);
    command.arg("build").args(build_arguments(module)).arg("-o");
    // With a folder as output, `go build` names each program after its package. A single program can have any name.
    match components {
        [single] => command.arg(output.path().join(single.name)),
        _ => command.arg(format!("{}/", output.path().display())),
    };
    command.args(components.iter().map(|component| component.package));
    progress::run(&mut command)?;
    for component in components {
        fs::rename(output.path().join(component.name), component.path())?;
        fs::write(component.stamp_path(), component.fingerprint()?)?;
    }
    Ok(())
}

/// The Go command in the folder of a module. It is killed when this process exits.
fn go(module: &str) -> Command {
    let mut command = progress::bound_to_this_process("go");
    command
        .current_dir(module_directory(module))
        .env("CGO_ENABLED", "0")
        // Fewer garbage collections in the compiler: 20 % less CPU time.
        .env("GOGC", "400")
        .env("GOFLAGS", "-buildvcs=false -mod=readonly");
    command
}

/// Runs the Go tests of a component's module, and the checks of `go vet` that `go test` includes. The flags are those of the build, so
/// that both share the compiled packages.
///
/// # Errors
/// When Go is missing or too old, or a test fails: the message contains the end of the output.
pub fn test(component: Component) -> Result<()> {
    preflight::check_go()?;
    let arguments = build_arguments(component.module);
    progress::run(go(component.module).arg("test").args(&arguments).arg("./...")).map(drop)
}

/// The path of the pinned kubectl. Builds it if it is missing.
///
/// # Errors
/// The errors of [`build`].
pub fn kubectl() -> Result<PathBuf> {
    build(&[KUBECTL])?;
    Ok(KUBECTL.path())
}

/// The path of the `OpenAPI` v2 document of the pinned Kubernetes, which contains the schemas of manifests.
///
/// The document is a file of the Go module, so it is available offline.
///
/// # Errors
/// When Go can neither find nor download the module.
pub fn openapi_schema() -> Result<PathBuf> {
    Ok(upstream_source("kubernetes", "k8s.io/kubernetes")?.join("api/openapi-spec/swagger.json"))
}

/// The source folder of the Go module `upstream`, in the version that `testbed/go/<module>` pins.
pub(crate) fn upstream_source(module: &str, upstream: &str) -> Result<PathBuf> {
    let mut command = Command::new("go");
    command
        .current_dir(module_directory(module))
        .args(["mod", "download", "-json", upstream]);
    let answer: serde_json::Value = serde_json::from_str(&progress::run(&mut command)?)?;
    let directory = answer["Dir"]
        .as_str()
        .context("`go mod download` printed no folder")?;
    Ok(PathBuf::from(directory))
}

/// Formats bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
