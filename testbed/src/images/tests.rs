//! Compares the stand-ins with the upstream Dockerfiles, which the pinned Go modules contain.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;

use super::dockerfile::Dockerfile;
use super::*;

/// For each image: its name, the folder below `testbed/go` that pins its Go module, that module, and its Dockerfile.
/// The Dockerfile of the etcd image is in the Kubernetes repository.
const DOCKERFILES: &[(&str, &str, &str, &str)] = &[
    (
        "quay.io/prometheus/prometheus",
        "prometheus",
        "github.com/prometheus/prometheus",
        "Dockerfile",
    ),
    (
        "registry.k8s.io/prometheus-adapter/prometheus-adapter",
        "prometheus-adapter",
        "sigs.k8s.io/prometheus-adapter",
        "Dockerfile",
    ),
    (
        "registry.k8s.io/coredns/coredns",
        "coredns",
        "github.com/coredns/coredns",
        "Dockerfile",
    ),
    (
        "registry.k8s.io/pause",
        "kubernetes",
        "k8s.io/kubernetes",
        "build/pause/Dockerfile",
    ),
    (
        "registry.k8s.io/kube-apiserver",
        "kubernetes",
        "k8s.io/kubernetes",
        "build/server-image/kube-apiserver/Dockerfile",
    ),
    (
        "registry.k8s.io/kube-controller-manager",
        "kubernetes",
        "k8s.io/kubernetes",
        "build/server-image/Dockerfile",
    ),
    (
        "registry.k8s.io/kube-scheduler",
        "kubernetes",
        "k8s.io/kubernetes",
        "build/server-image/Dockerfile",
    ),
    (
        "registry.k8s.io/kube-proxy",
        "kubernetes",
        "k8s.io/kubernetes",
        "build/server-image/Dockerfile",
    ),
    (
        "registry.k8s.io/etcd",
        "kubernetes",
        "k8s.io/kubernetes",
        "cluster/images/etcd/Dockerfile",
    ),
    (
        "registry.k8s.io/networking/kube-network-policies",
        "kube-network-policies",
        "sigs.k8s.io/kube-network-policies",
        "Dockerfile",
    ),
];

/// The upstream Dockerfile of an image.
fn dockerfile(image: &UpstreamImage) -> Dockerfile {
    let (name, _) = image.reference.rsplit_once(':').unwrap();
    let (_, module, upstream, path) = DOCKERFILES
        .iter()
        .find(|(image, ..)| *image == name)
        .unwrap_or_else(|| panic!("DOCKERFILES contains no {name}"));
    let path = components::upstream_source(module, upstream).unwrap().join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Dockerfile::parse(&text, &[("BINARY", image.component.name)])
}

/// The entries of a layer by path: permission bits, user ID of the owner, content.
type Layer = BTreeMap<String, (u32, u64, Vec<u8>)>;

/// Reads an archive: the configuration of the process, and the layer.
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

/// The ID of the user that `USER` or `chown` names. Names are looked up in the image, as the container runtime does.
fn user_id(layer: &Layer, user: &str) -> Option<u64> {
    let name = user.split(':').next()?;
    let users = String::from_utf8(layer["/etc/passwd"].2.clone()).ok()?;
    name.parse().ok().or_else(|| {
        users
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|fields| fields[0] == name)?[2]
            .parse()
            .ok()
    })
}

#[test]
fn stand_ins_have_the_properties_of_the_upstream_dockerfiles() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "a program").unwrap();
    for image in upstream().into_iter().chain([network_policy_agent()]) {
        let name = &image.reference;
        let upstream = dockerfile(&image);
        assert!(
            upstream
                .copied_paths
                .iter()
                .any(|path| path.trim_end_matches('*') == image.path),
            "{name}: {:?}",
            upstream.copied_paths
        );
        // The complete layer of kube-proxy needs iptables on this machine. Only `cluster up` installs it.
        let entries = if image.component == components::KUBE_PROXY {
            vec![Entry::program(image.path, &program)]
        } else {
            image.entries(&program).unwrap()
        };
        let archive = folder.path().join("image.tar");
        archive::write(&archive, &image.reference, &image.config, &entries).unwrap();
        let (config, layer) = unpack(&archive);

        assert_eq!(
            config["Entrypoint"],
            serde_json::json!(upstream.entrypoint),
            "{name}"
        );
        assert_eq!(config["Cmd"], serde_json::json!(upstream.command), "{name}");
        assert_eq!(config["User"], upstream.user, "{name}");
        // The base images are scratch and distroless. Their working directory is the root.
        let working_directory = upstream.working_directory.as_deref().unwrap_or("/");
        assert_eq!(config["WorkingDir"], working_directory, "{name}");
        let (mode, _, content) = &layer[image.path];
        assert_eq!(
            (mode & 0o111, content.as_slice()),
            (0o111, b"a program".as_slice()),
            "{name}"
        );
        if upstream.user.is_empty() {
            continue;
        }

        assert!(user_id(&layer, &upstream.user).is_some(), "{name}");
        // Not checked for root, which may listen on any port.
        let binds_low_ports = upstream.all_commands.iter().any(|command| {
            command[0] == "setcap" && command[1] == "cap_net_bind_service=+ep" && command[2] == image.path
        });
        let program_entry = entries.iter().find(|entry| entry.path == image.path).unwrap();
        assert_eq!(program_entry.binds_low_ports, binds_low_ports, "{name}");
        for command in &upstream.commands {
            let folders = command.iter().filter(|word| word.starts_with('/'));
            for folder in folders {
                let (mode, owner, _) = layer
                    .get(folder)
                    .unwrap_or_else(|| panic!("{name} has no {folder}"));
                match command[0].as_str() {
                    "chown" => {
                        let user = command.iter().find(|word| word.contains(':')).unwrap();
                        assert_eq!(Some(*owner), user_id(&layer, user), "{name}: {folder}");
                    }
                    "chmod" if command[1] == "g+w" => {
                        assert_eq!(mode & 0o020, 0o020, "{name}: {folder}");
                    }
                    other => {
                        panic!("{name}: the upstream Dockerfile runs {other}, which this test does not know")
                    }
                }
            }
        }
    }
}

#[test]
fn the_folders_of_the_prometheus_image_are_those_of_its_dockerfile() {
    // The other test would also pass if it found no folder in any Dockerfile.
    let prometheus = upstream()
        .into_iter()
        .find(|image| image.component == components::PROMETHEUS)
        .unwrap();
    let chowned: BTreeSet<_> = dockerfile(&prometheus)
        .commands
        .into_iter()
        .filter(|command| command[0] == "chown")
        .flatten()
        .filter(|word| word.starts_with('/'))
        .collect();
    let in_stand_in: BTreeSet<_> = prometheus
        .directories
        .iter()
        .map(|(path, ..)| (*path).to_owned())
        .collect();
    assert_eq!(chowned, in_stand_in);
}

#[test]
fn an_archive_is_rewritten_if_and_only_if_its_contents_change() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let archive = folder.path().join("image.tar");
    fs::write(&program, "a program").unwrap();
    let mut image = upstream()
        .into_iter()
        .find(|image| image.component == components::COREDNS)
        .unwrap();
    let is_rewritten = |image: &UpstreamImage| {
        fs::write(&archive, "old").unwrap();
        image.write(&archive, &program).unwrap();
        fs::read(&archive).unwrap() != b"old"
    };
    assert!(is_rewritten(&image), "no stamp yet");
    assert!(!is_rewritten(&image), "no change");
    image.config.user = "root".to_owned();
    assert!(is_rewritten(&image), "new user");
    image.directories = &[("/data", 1, 0o755)];
    assert!(is_rewritten(&image), "new folder");
    image.directories = &[("/data", 1, 0o700)];
    assert!(is_rewritten(&image), "new permission bits of a folder");
    fs::write(&program, "another program").unwrap();
    assert!(is_rewritten(&image), "new program");
    image.reference.push_str("-2");
    assert!(is_rewritten(&image), "new tag");
    assert!(!is_rewritten(&image), "no change");
    fs::remove_file(&archive).unwrap();
    image.write(&archive, &program).unwrap();
    assert!(archive.exists(), "a missing archive is written");
}
