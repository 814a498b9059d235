//! Stand-ins for upstream's images, under their real names, made of the components that we build.
//!
//! A manifest that runs here runs unchanged with the real image only if the stand-in has the same entrypoint, user,
//! working directory and paths. [`upstream`] is that table; each row names where upstream defines it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

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
    /// Folders that upstream's image brings: path and owner.
    pub directories: &'static [(&'static str, u64)],
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
            directories: &[("/prometheus", 65_534), ("/etc/prometheus", 65_534)],
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
                .map(|(path, user)| Entry::directory(*path, 0o755, *user)),
        );
        if self.component == tools::KUBE_PROXY {
            entries.extend(packet_filter()?);
        }
        Ok(entries)
    }

    /// Writes the archive if it is older than its program.
    fn write(&self) -> Result<()> {
        let archive = self.archive();
        let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
        if modified(&archive) < modified(&self.component.path()) || modified(&archive).is_none() {
            archive::write(
                &archive,
                &self.reference,
                &self.config,
                &self.entries(&self.component.path())?,
            )?;
        }
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
            .write()
            .with_context(|| format!("image {}", image.reference))?;
    }
    Ok(())
}

/// What kube-proxy calls: iptables with its extensions, conntrack, and the libraries of both, from this machine.
fn packet_filter() -> Result<Vec<Entry>> {
    let multi = ["xtables-nft-multi", "xtables-legacy-multi", "conntrack"];
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    for name in multi {
        let path = Path::new("/usr/sbin").join(name);
        files.extend(libraries(&path)?);
        files.insert(path);
    }
    let mut extensions = None;
    for folder in std::fs::read_dir("/usr/lib")?.flatten() {
        let candidate = folder.path().join("xtables");
        if candidate.is_dir() {
            extensions = Some(candidate);
        }
    }
    let extensions = extensions.context("iptables' extensions are not below /usr/lib")?;
    for extension in std::fs::read_dir(extensions)?.flatten() {
        files.extend(libraries(&extension.path())?);
        files.insert(extension.path());
    }
    let mut entries: Vec<_> = files
        .iter()
        .map(|file| Entry::program(file.display().to_string(), file))
        .collect();
    // The variant of iptables that this machine uses, so that both see the same tables.
    let chosen = std::fs::canonicalize("/usr/sbin/iptables").context("iptables is not installed")?;
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

/// The shared libraries of a program, its loader among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listing = progress::run(Command::new("ldd").arg(program))?;
    Ok(listing
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io::Read as _;

    use super::*;

    /// Image, entrypoint, command, user, working directory.
    type Row = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        &'static str,
        &'static str,
    );

    /// What upstream's Dockerfiles say.
    const UPSTREAM: [Row; 4] = [
        (
            "quay.io/prometheus/prometheus",
            &["/bin/prometheus"],
            &[
                "--config.file=/etc/prometheus/prometheus.yml",
                "--storage.tsdb.path=/prometheus",
            ],
            "nobody",
            "/prometheus",
        ),
        (
            "registry.k8s.io/prometheus-adapter/prometheus-adapter",
            &["/adapter"],
            &[],
            "65534",
            "/",
        ),
        (
            "registry.k8s.io/coredns/coredns",
            &["/coredns"],
            &[],
            "nonroot:nonroot",
            "/",
        ),
        ("registry.k8s.io/pause", &["/pause"], &[], "65535:65535", "/"),
    ];

    /// A layer's entries by path: mode, owner, content.
    type Layer = BTreeMap<String, (u32, u64, Vec<u8>)>;

    /// What a written archive holds: the process's configuration, and its layer.
    fn unpack(archive: &Path) -> (serde_json::Value, Layer) {
        let mut files = BTreeMap::new();
        for entry in tar::Archive::new(File::open(archive).unwrap()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            files.insert(entry.path().unwrap().display().to_string(), content);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
        let file = |name: &serde_json::Value| &files[name.as_str().unwrap()];
        let image: serde_json::Value = serde_json::from_slice(file(&manifest[0]["Config"])).unwrap();
        let mut layer = BTreeMap::new();
        for entry in tar::Archive::new(file(&manifest[0]["Layers"][0]).as_slice())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let path = format!(
                "/{}",
                entry.path().unwrap().display().to_string().trim_end_matches('/')
            );
            let header = entry.header();
            layer.insert(path, (header.mode().unwrap(), header.uid().unwrap(), content));
        }
        (image["config"].clone(), layer)
    }

    #[test]
    fn what_a_manifest_can_rely_on_is_as_upstream_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("program");
        std::fs::write(&program, "a program").unwrap();
        for (name, entrypoint, command, user, working_directory) in UPSTREAM {
            let image = upstream()
                .into_iter()
                .find(|image| {
                    image
                        .reference
                        .rsplit_once(':')
                        .is_some_and(|(found, _)| found == name)
                })
                .unwrap_or_else(|| panic!("no stand-in for {name}"));
            let archive = folder.path().join("image.tar");
            let entries = image.entries(&program).unwrap();
            archive::write(&archive, &image.reference, &image.config, &entries).unwrap();
            let (config, layer) = unpack(&archive);
            assert_eq!(config["Entrypoint"], serde_json::json!(entrypoint), "{name}");
            assert_eq!(config["Cmd"], serde_json::json!(command), "{name}");
            assert_eq!(config["User"], user, "{name}");
            assert_eq!(config["WorkingDir"], working_directory, "{name}");
            let (mode, _, content) = &layer[entrypoint[0]];
            assert_eq!(
                (mode & 0o111, content.as_slice()),
                (0o111, b"a program".as_slice()),
                "{name}"
            );
            // A name is looked up in the image; a folder that its process writes to has to be its own.
            let user_name = user.split(':').next().unwrap();
            if user_name.parse::<u64>().is_err() {
                let users = String::from_utf8(layer["/etc/passwd"].2.clone()).unwrap();
                assert!(
                    users
                        .lines()
                        .any(|line| line.starts_with(&format!("{user_name}:"))),
                    "{name}"
                );
            }
            if working_directory != "/" {
                assert_eq!(layer[working_directory].1, 65_534, "{name}");
            }
        }
    }

    #[test]
    fn every_stand_in_carries_the_tag_that_is_pinned() {
        for image in upstream() {
            let (name, tag) = image.reference.rsplit_once(':').unwrap();
            assert!(
                name.contains('/') && !tag.is_empty() && tag != "latest",
                "{}",
                image.reference
            );
        }
    }
}
