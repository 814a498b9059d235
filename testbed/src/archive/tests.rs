//! Reads the archives that the module writes.

use super::*;

#[test]
fn an_archive_contains_the_reference_config_and_owners_and_is_reproducible() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "#!").unwrap();
    let config = Config {
        entrypoint: vec!["/program".into()],
        user: "65532:65532".into(),
        ..Config::default()
    };
    let entries = [
        Entry::program("/program", &program),
        Entry::directory("/data", 0o750, 65_532),
    ];
    let (first, second) = (folder.path().join("1.tar"), folder.path().join("2.tar"));
    write(&first, "app:1", &config, &entries).unwrap();
    write(&second, "app:1", &config, &entries).unwrap();
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());

    let mut archive = tar::Archive::new(File::open(&first).unwrap());
    let mut texts = std::collections::HashMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        texts.insert(path, content);
    }
    let manifest: Value = serde_json::from_slice(&texts["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"][0], "app:1");
    assert_eq!(reference(&first).unwrap(), "app:1");
    let image: Value = serde_json::from_slice(&texts[manifest[0]["Config"].as_str().unwrap()]).unwrap();
    assert_eq!(image["config"]["Entrypoint"][0], "/program");
    assert_eq!(image["config"]["User"], "65532:65532");
    let layer = &texts[manifest[0]["Layers"][0].as_str().unwrap()];
    let diff = format!("sha256:{}", hex(&Sha256::digest(layer)));
    assert_eq!(image["rootfs"]["diff_ids"][0], diff);
    let owners: Vec<_> = tar::Archive::new(layer.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().header().uid().unwrap())
        .collect();
    assert_eq!(owners, [0, 65_532]);
}

/// Writes an archive that contains only this manifest.
fn archive_with(manifest: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut tar = tar::Builder::new(file.as_file());
    append(&mut tar, MANIFEST, 0o644, 0, manifest.to_string().as_bytes()).unwrap();
    tar.finish().unwrap();
    drop(tar);
    file
}

#[test]
fn all_references_of_an_archive_are_read() {
    let two = archive_with(&json!([{ "RepoTags": ["a:1", "a:2"] }, { "RepoTags": ["b:1"] }]));
    assert_eq!(references(two.path()).unwrap(), ["a:1", "a:2", "b:1"]);
    let unnamed = archive_with(&json!([{ "RepoTags": ["a:1"] }, { "RepoTags": null }]));
    assert!(references(unnamed.path()).unwrap().is_empty());
    assert!(reference(unnamed.path()).is_err());
    assert!(references(Path::new("/dev/null")).unwrap().is_empty());
}

#[test]
fn an_archive_is_an_oci_layout_of_the_same_image() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config {
        labels: [("org.opencontainers.image.version".to_owned(), "1".to_owned())].into(),
        ..Config::default()
    };
    let archive = folder.path().join("app.tar");
    write(&archive, "app:1", &config, &[Entry::directory("/data", 0o750, 0)]).unwrap();
    let layout = folder.path().join("layout");
    unpack(&archive, &layout).unwrap();
    let json = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(layout.join(name)).unwrap_or_else(|error| panic!("{name}: {error}")))
            .unwrap()
    };
    assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let mut found = 0;
    for file in fs::read_dir(layout.join(BLOBS)).unwrap() {
        let file = file.unwrap();
        let name = file.file_name().into_string().unwrap();
        assert_eq!(name, digest(&fs::read(file.path()).unwrap()));
        found += 1;
    }
    assert_eq!(found, 3, "manifest, config and layer");

    let described = json("index.json")["manifests"][0].take();
    assert_eq!(described["digest"], image_digest(&archive).unwrap());
    let names = &described["annotations"];
    assert_eq!(names["io.containerd.image.name"], "docker.io/library/app:1");
    assert_eq!(names["org.opencontainers.image.ref.name"], "1");
    // The path of the file that a descriptor names, after a check of its size.
    let path = |descriptor: &Value| {
        let path = blob(
            descriptor["digest"]
                .as_str()
                .unwrap()
                .strip_prefix("sha256:")
                .unwrap(),
        );
        assert_eq!(
            descriptor["size"],
            fs::metadata(layout.join(&path)).unwrap().len()
        );
        path
    };
    let manifest = json(&path(&described));
    let docker = json("manifest.json");
    assert_eq!(path(&manifest["config"]), docker[0]["Config"]);
    assert_eq!(path(&manifest["layers"][0]), docker[0]["Layers"][0]);
    let labels = &json(docker[0]["Config"].as_str().unwrap())["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.version"], "1");

    let image = image_digest(&archive).unwrap();
    write(
        &archive,
        "other:2",
        &config,
        &[Entry::directory("/data", 0o750, 0)],
    )
    .unwrap();
    assert_eq!(
        image_digest(&archive).unwrap(),
        image,
        "the digest does not cover the name"
    );
}

#[test]
fn a_reference_is_completed_as_containerd_does() {
    for (reference, expected) in [
        ("app-a:0123456789ab", "docker.io/library/app-a:0123456789ab"),
        ("team/tool:1", "docker.io/team/tool:1"),
        ("registry.k8s.io/pause:3.10.1", "registry.k8s.io/pause:3.10.1"),
        ("localhost/app-a:1", "localhost/app-a:1"),
        ("localhost:5000/app-a:1", "localhost:5000/app-a:1"),
    ] {
        assert_eq!(normalized(reference), expected);
    }
}

#[test]
fn a_tag_is_separate_from_the_port_of_a_registry() {
    assert_eq!(split_tag("localhost:5000/app-a:1"), ("localhost:5000/app-a", "1"));
    assert_eq!(
        split_tag("localhost:5000/app-a"),
        ("localhost:5000/app-a", "latest")
    );
}
