//! Stand-ins for upstream's images, under their real names, made of the components that we build.
//!
//! A manifest that runs here runs unchanged with the real image only if the stand-in has the same entrypoint, user,
//! working directory and paths. [`upstream`] is that table; each row names where upstream defines it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use crate::archive::{self, Config, Content, Entry};
use crate::tools::{self, Component};
use crate::{paths, progress, versions};

/// Upstream's image, and what a manifest can rely on in it.
#[derive(Clone, Debug)]
pub struct UpstreamImage {
    /// Name and tag, as manifests write it.
    pub reference: String,
    /// How its process starts.
    pub config: Config,
    /// The program in it, and its path there.
    pub component: Component,
    /// See [`UpstreamImage::component`].
    pub path: &'static str,
    /// Folders that upstream's image brings: path, owner, permission bits.
    pub directories: &'static [(&'static str, u64, u32)],
    /// Where upstream defines this: a file of the named repository.
    pub source: &'static str,
}

/// Every image that the cluster runs and this project does not build from its own source.
#[must_use]
pub fn upstream() -> Vec<UpstreamImage> {
    let mut images = control_plane();
    images.extend([
        UpstreamImage {
            reference: format!("registry.k8s.io/coredns/coredns:{}", versions::coredns()),
            config: process(&["/coredns"], &[], "nonroot:nonroot", "/"),
            component: tools::COREDNS,
            path: "/coredns",
            directories: &[],
            source: "coredns/coredns Dockerfile",
        },
        UpstreamImage {
            reference: format!("registry.k8s.io/pause:{}", versions::PAUSE),
            config: process(&["/pause"], &[], "65535:65535", "/"),
            component: tools::PAUSE,
            path: "/pause",
            directories: &[],
            source: "kubernetes/kubernetes build/pause/Dockerfile",
        },
        UpstreamImage {
            reference: format!("quay.io/prometheus/prometheus:{}", versions::prometheus()),
            config: process(
                &["/bin/prometheus"],
                &[
                    "--config.file=/etc/prometheus/prometheus.yml",
                    "--storage.tsdb.path=/prometheus",
                ],
                "nobody",
                "/prometheus",
            ),
            component: tools::PROMETHEUS,
            path: "/bin/prometheus",
            directories: &[("/prometheus", 65_534, 0o775), ("/etc/prometheus", 65_534, 0o755)],
            source: "prometheus/prometheus Dockerfile",
        },
        UpstreamImage {
            reference: format!(
                "registry.k8s.io/prometheus-adapter/prometheus-adapter:{}",
                versions::prometheus_adapter()
            ),
            config: process(&["/adapter"], &[], "65534", "/"),
            component: tools::PROMETHEUS_ADAPTER,
            path: "/adapter",
            directories: &[],
            source: "kubernetes-sigs/prometheus-adapter Dockerfile",
        },
    ]);
    images
}

/// The images of kubeadm's static pods and of kube-proxy; kubeadm names their commands, so no entrypoint matters.
fn control_plane() -> Vec<UpstreamImage> {
    let kubernetes = [
        (tools::KUBE_APISERVER, "/usr/local/bin/kube-apiserver"),
        (
            tools::KUBE_CONTROLLER_MANAGER,
            "/usr/local/bin/kube-controller-manager",
        ),
        (tools::KUBE_SCHEDULER, "/usr/local/bin/kube-scheduler"),
        (tools::KUBE_PROXY, "/usr/local/bin/kube-proxy"),
    ];
    let mut images: Vec<_> = kubernetes
        .into_iter()
        .map(|(component, path)| UpstreamImage {
            reference: format!("registry.k8s.io/{}:{}", component.name, versions::kubernetes()),
            config: process(&[], &[], "", "/"),
            component,
            path,
            directories: &[],
            source: "kubernetes/kubernetes build/server-image",
        })
        .collect();
    images.push(UpstreamImage {
        reference: format!("registry.k8s.io/etcd:{}", versions::etcd()),
        config: process(&[], &[], "", "/"),
        component: tools::ETCD,
        path: "/usr/local/bin/etcd",
        directories: &[],
        source: "kubernetes/kubernetes cluster/images/etcd/Dockerfile",
    });
    images
}

fn process(entrypoint: &[&str], command: &[&str], user: &str, working_directory: &str) -> Config {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    Config {
        entrypoint: owned(entrypoint),
        command: owned(command),
        user: user.to_owned(),
        working_directory: working_directory.to_owned(),
        // The static pods call the bare names of their programs.
        environment: vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()],
    }
}

impl UpstreamImage {
    /// Where its archive lies.
    #[must_use]
    pub fn archive(&self) -> PathBuf {
        paths::upstream_images().join(format!("{}.tar", self.reference.replace(['/', ':'], "_")))
    }

    /// The layer's files; an error when a program of this machine that kube-proxy calls is missing.
    fn entries(&self, program: &Path) -> Result<Vec<Entry>> {
        // Names of users, which `USER nobody` and `USER nonroot` are looked up by.
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
            // CoreDNS serves port 53 as a user without privileges: upstream sets the file's capability.
            Entry {
                binds_low_ports: self.component == tools::COREDNS,
                ..Entry::program(self.path, program)
            },
        ];
        entries.extend(
            self.directories
                .iter()
                .map(|(path, user, mode)| Entry::directory(*path, *mode, *user)),
        );
        if self.component == tools::KUBE_PROXY {
            entries.extend(packet_filter()?);
        }
        Ok(entries)
    }

    /// What the archive is made of: a change of it makes the archive stale. A file counts by its size and age, because
    /// reading the programs at each start would take longer than what it saves.
    fn fingerprint(&self, entries: &[Entry]) -> Result<String> {
        let mut hash = Sha256::new();
        hash.update(format!("{:?} {:?}", self.reference, self.config));
        for entry in entries {
            hash.update(format!("{entry:?}"));
            if let Content::File(file) = &entry.content {
                let seen = file.metadata().with_context(|| file.display().to_string())?;
                hash.update(format!("{} {:?}", seen.len(), seen.modified()?));
            }
        }
        Ok(tools::hex(&hash.finalize()))
    }

    /// Writes `archive`, with the program at `program` in it, unless it is there and made of the same.
    fn write(&self, archive: &Path, program: &Path) -> Result<()> {
        let entries = self.entries(program)?;
        let fingerprint = self.fingerprint(&entries)?;
        let stamp = archive.with_extension("stamp");
        if archive.exists() && fs::read_to_string(&stamp).is_ok_and(|found| found == fingerprint) {
            return Ok(());
        }
        let _ = fs::remove_file(&stamp);
        archive::write(archive, &self.reference, &self.config, &entries)?;
        fs::write(stamp, fingerprint)?;
        Ok(())
    }
}

/// Writes the archives that are missing or stale.
///
/// # Errors
/// When a component is not built yet, or the disk is full.
pub fn write_upstream() -> Result<()> {
    for image in upstream() {
        image
            .write(&image.archive(), &image.component.path())
            .with_context(|| format!("image {}", image.reference))?;
    }
    Ok(())
}

/// What kube-proxy calls: iptables with its extensions, conntrack, and the libraries of both, from this machine.
fn packet_filter() -> Result<Vec<Entry>> {
    let multi = ["xtables-nft-multi", "xtables-legacy-multi", "conntrack"];
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    files.extend(multi.map(|name| Path::new("/usr/sbin").join(name)));
    let mut extensions = None;
    for folder in fs::read_dir("/usr/lib")?.flatten() {
        let candidate = folder.path().join("xtables");
        if candidate.is_dir() {
            extensions = Some(candidate);
        }
    }
    let extensions = extensions.context("iptables' extensions are not below /usr/lib")?;
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
    // The variant of iptables that this machine uses, so that both see the same tables.
    let chosen = fs::canonicalize("/usr/sbin/iptables").context("iptables is not installed")?;
    let chosen = chosen.display().to_string();
    for family in ["iptables", "ip6tables"] {
        for suffix in ["", "-save", "-restore"] {
            entries.push(Entry {
                path: format!("/usr/sbin/{family}{suffix}"),
                content: Content::Link(chosen.clone()),
                mode: 0o777,
                user: 0,
                binds_low_ports: false,
            });
        }
    }
    Ok(entries)
}

/// The shared libraries of programs, their loader among them.
fn libraries(programs: &BTreeSet<PathBuf>) -> Result<Vec<PathBuf>> {
    let listing = progress::run(Command::new("ldd").args(programs))?;
    Ok(listing
        .lines()
        // Each program's own name, above its libraries.
        .filter(|line| !line.ends_with(':'))
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod dockerfile;
#[cfg(test)]
mod tests;
