//! Writes stand-ins for the upstream images, with the upstream names, from the components that the testbed builds.
//!
//! A manifest that works with a stand-in works unchanged with the upstream image only if both have the same
//! entrypoint, user, working directory and paths. [`upstream`] is the table of these properties. Each row names its
//! upstream source.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::archive::{self, Config, Content, Entry};
use crate::components::{self, Component};
use crate::{paths, progress, versions};

/// An upstream image, with the properties that a manifest may rely on.
#[derive(Clone, Debug)]
pub struct UpstreamImage {
    /// The name and tag, as in manifests.
    pub reference: String,
    /// How the process of the image starts.
    pub config: Config,
    /// The program in the image.
    pub component: Component,
    /// The path of the program in the image.
    pub path: &'static str,
    /// The folders that the upstream image contains: path, user ID of the owner, permission bits.
    pub directories: &'static [(&'static str, u64, u32)],
    /// The upstream repository and file that define the image.
    pub source: &'static str,
}

/// The images that each cluster runs, except those that are built from the source of this project.
#[must_use]
pub fn upstream() -> Vec<UpstreamImage> {
    let mut images = control_plane();
    images.extend([
        UpstreamImage {
            reference: format!("registry.k8s.io/coredns/coredns:{}", versions::coredns()),
            config: config(&["/coredns"], &[], "nonroot:nonroot", "/"),
            component: components::COREDNS,
            path: "/coredns",
            directories: &[],
            source: "coredns/coredns Dockerfile",
        },
        UpstreamImage {
            reference: format!("registry.k8s.io/pause:{}", versions::PAUSE),
            config: config(&["/pause"], &[], "65535:65535", "/"),
            component: components::PAUSE,
            path: "/pause",
            directories: &[],
            source: "kubernetes/kubernetes build/pause/Dockerfile",
        },
        UpstreamImage {
            reference: format!("quay.io/prometheus/prometheus:{}", versions::prometheus()),
            config: config(
                &["/bin/prometheus"],
                &[
                    "--config.file=/etc/prometheus/prometheus.yml",
                    "--storage.tsdb.path=/prometheus",
                ],
                "nobody",
                "/prometheus",
            ),
            component: components::PROMETHEUS,
            path: "/bin/prometheus",
            directories: &[("/prometheus", 65_534, 0o775), ("/etc/prometheus", 65_534, 0o755)],
            source: "prometheus/prometheus Dockerfile",
        },
        UpstreamImage {
            reference: format!(
                "registry.k8s.io/prometheus-adapter/prometheus-adapter:{}",
                versions::prometheus_adapter()
            ),
            config: config(&["/adapter"], &[], "65534", "/"),
            component: components::PROMETHEUS_ADAPTER,
            path: "/adapter",
            directories: &[],
            source: "kubernetes-sigs/prometheus-adapter Dockerfile",
        },
    ]);
    images
}

/// The image of the agent that enforces network policies. Only [`crate::network_policy::enforce`] imports it.
#[must_use]
pub fn network_policy_agent() -> UpstreamImage {
    UpstreamImage {
        reference: format!(
            "registry.k8s.io/networking/kube-network-policies:{}",
            versions::kube_network_policies()
        ),
        config: config(&[], &["/bin/netpol"], "", "/"),
        component: components::KUBE_NETWORK_POLICIES,
        path: "/bin/netpol",
        directories: &[],
        source: "kubernetes-sigs/kube-network-policies Dockerfile",
    }
}

/// The image of Karpenter with this project's cloud provider. The tag contains a hash of the provider's source, so that changed code
/// rolls out.
///
/// # Errors
/// When a file of the source cannot be read.
pub fn karpenter() -> Result<UpstreamImage> {
    let source = components::KARPENTER.source_hash()?;
    Ok(UpstreamImage {
        reference: format!("testbed/karpenter:{}-{}", versions::karpenter(), &source[..12]),
        config: config(&["/karpenter"], &[], "nonroot:nonroot", "/"),
        component: components::KARPENTER,
        path: "/karpenter",
        directories: &[],
        source: "testbed/go/karpenter",
    })
}

/// The images of kubeadm's static pods and of kube-proxy. They have no entrypoint, because kubeadm sets the command.
fn control_plane() -> Vec<UpstreamImage> {
    let kubernetes = [
        (components::KUBE_APISERVER, "/usr/local/bin/kube-apiserver"),
        (
            components::KUBE_CONTROLLER_MANAGER,
            "/usr/local/bin/kube-controller-manager",
        ),
        (components::KUBE_SCHEDULER, "/usr/local/bin/kube-scheduler"),
        (components::KUBE_PROXY, "/usr/local/bin/kube-proxy"),
    ];
    let mut images: Vec<_> = kubernetes
        .into_iter()
        .map(|(component, path)| UpstreamImage {
            reference: format!("registry.k8s.io/{}:{}", component.name, versions::kubernetes()),
            config: config(&[], &[], "", "/"),
            component,
            path,
            directories: &[],
            source: "kubernetes/kubernetes build/server-image",
        })
        .collect();
    images.push(UpstreamImage {
        reference: format!("registry.k8s.io/etcd:{}", versions::etcd()),
        config: config(&[], &[], "", "/"),
        component: components::ETCD,
        path: "/usr/local/bin/etcd",
        directories: &[],
        source: "kubernetes/kubernetes cluster/images/etcd/Dockerfile",
    });
    images
}

fn config(entrypoint: &[&str], command: &[&str], user: &str, working_directory: &str) -> Config {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Config {
        entrypoint: owned(entrypoint),
        command: owned(command),
        user: user.to_owned(),
        working_directory: working_directory.to_owned(),
        // The commands of the static pods are names without a path.
        environment: vec![archive::PATH.to_owned()],
        ..Config::default()
    }
}

impl UpstreamImage {
    /// The path of the image's archive.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        paths::upstream_images().join(format!("{}.tar", self.reference.replace(['/', ':'], "_")))
    }

    /// The entries of the layer. Fails if this machine lacks a program that kube-proxy calls.
    fn entries(&self, program: &Path) -> Result<Vec<Entry>> {
        // The container runtime looks up the users of `USER nobody` and `USER nonroot` here.
        let users = "root:x:0:0:root:/root:/sbin/nologin\n\
                     nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n\
                     nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n";
        let groups = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n";
        let text = |path: &str, text: &str| Entry {
            path: path.to_owned(),
            content: Content::Text(text.to_owned()),
            mode: 0o644,
            user: 0,
            binds_low_ports: false,
        };
        let mut entries = vec![
            text("/etc/passwd", users),
            text("/etc/group", groups),
            Entry::directory("/tmp", 0o1777, 0),
            // CoreDNS serves port 53 as an unprivileged user. Upstream therefore sets the capability of the file.
            Entry {
                binds_low_ports: self.component == components::COREDNS,
                ..Entry::program(self.path, program)
            },
        ];
        entries.extend(
            self.directories
                .iter()
                .map(|(path, user, mode)| Entry::directory(*path, *mode, *user)),
        );
        if self.component == components::KUBE_PROXY {
            entries.extend(iptables_entries()?);
        }
        Ok(entries)
    }

    /// A hash of the contents of the archive. If it changes, the archive is stale.
    ///
    /// For a program, the hash covers only the size and the modification time. To read each program at each start would take
    /// more time than a current archive saves.
    fn fingerprint(&self, entries: &[Entry]) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?}", self.reference, self.config));
        for entry in entries {
            hash.update(format!("{entry:?}"));
            if let Content::File(file) = &entry.content {
                let metadata = file.metadata().with_context(|| file.display().to_string())?;
                hash.update(format!("{} {:?}", metadata.len(), metadata.modified()?));
            }
        }
        Ok(components::hex(&hash.finalize()))
    }

    /// Writes the archive, unless it is current.
    ///
    /// # Errors
    /// When the component is not built yet, or a file cannot be read or written.
    pub fn write_if_stale(&self) -> Result<()> {
        self.write(&self.archive(), &self.component.path())
            .with_context(|| format!("image {}", self.reference))
    }

    /// Writes the image with the program at the path `program` to `archive`, unless the archive is current.
    fn write(&self, archive: &Path, program: &Path) -> Result<()> {
        let entries = self.entries(program)?;
        let fingerprint = self.fingerprint(&entries)?;
        let stamp = archive.with_extension("stamp");
        if archive.exists() && fs::read_to_string(&stamp).is_ok_and(|written| written == fingerprint) {
            return Ok(());
        }
        let _ = fs::remove_file(&stamp);
        archive::write(archive, &self.reference, &self.config, &entries)?;
        fs::write(stamp, fingerprint)?;
        Ok(())
    }
}

/// Writes the missing and stale archives.
///
/// # Errors
/// When a component is not built yet, or a file cannot be read or written.
pub fn write_upstream() -> Result<()> {
    upstream().iter().try_for_each(UpstreamImage::write_if_stale)
}

/// The programs that kube-proxy calls, from this machine: iptables with its extensions, conntrack, and their libraries. A shell, grep
/// and sleep are for the container `rules` of the network policy agent.
fn iptables_entries() -> Result<Vec<Entry>> {
    let programs = ["xtables-nft-multi", "xtables-legacy-multi", "conntrack"];
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    files.extend(programs.map(|name| Path::new("/usr/sbin").join(name)));
    files.extend(["sh", "grep", "sleep"].map(|name| Path::new("/bin").join(name)));
    let mut extensions = None;
    for folder in fs::read_dir("/usr/lib")?.flatten() {
        let candidate = folder.path().join("xtables");
        if candidate.is_dir() {
            extensions = Some(candidate);
        }
    }
    let extensions =
        extensions.context("no folder below /usr/lib contains the extensions of iptables (xtables)")?;
    files.extend(
        fs::read_dir(extensions)?
            .flatten()
            .map(|extension| extension.path()),
    );
    files.extend(libraries(&files)?);
    let mut entries: Vec<_> = files
        .iter()
        .map(|file| Entry::program(file.display().to_string(), file))
        .collect();
    // The same variant of iptables as on this machine, so that both use the same tables.
    let variant = fs::canonicalize("/usr/sbin/iptables").context("iptables is not installed")?;
    let variant = variant.display().to_string();
    for family in ["iptables", "ip6tables"] {
        for suffix in ["", "-save", "-restore"] {
            entries.push(Entry {
                path: format!("/usr/sbin/{family}{suffix}"),
                content: Content::Link(variant.clone()),
                mode: 0o777,
                user: 0,
                binds_low_ports: false,
            });
        }
    }
    Ok(entries)
}

/// The shared libraries of `programs`, including the loader.
fn libraries(programs: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let listing = progress::run(Command::new("ldd").args(programs))?;
    Ok(listing
        .lines()
        // The heading of each program: its path with a colon.
        .filter(|line| !line.ends_with(':'))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod dockerfile;
#[cfg(test)]
mod tests;
