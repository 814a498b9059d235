//! `cargo xtask images --push`.

use std::fs;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};
use e2e::xtask;
use serde_json::{Value, json};
use testbed::paths;

use crate::registry::{Registry, crane, part};

/// The images, as the manifests name them.
pub(crate) const IMAGES: [&str; 4] = ["app-a", "app-b", "serving-cert", "loadtest"];

/// `cargo xtask images`, with the profile that the tests build.
pub(crate) fn push(registry: &str) -> Command {
    let mut command = xtask(&["images", "--quick", "--push", registry]);
    command.env_remove("IMAGE_SOURCE");
    command
}

/// The record of the last push.
pub(crate) fn pushed() -> Result<Value> {
    let path = paths::target().join("images-quick/pushed.json");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

/// The reference by digest of an image that was pushed.
pub(crate) fn reference(name: &str) -> Result<String> {
    let pushed = pushed()?;
    let images = pushed["images"].as_array().context("no images")?;
    let image = images.iter().find(|image| image["name"] == name);
    let reference = image.and_then(|image| image["reference"].as_str());
    Ok(reference
        .with_context(|| format!("no {name} in {pushed}"))?
        .to_owned())
}

/// Expects that a push fails, with these texts in its output.
fn refused(output: &Output, expected: &[&str]) {
    let text = e2e::text(output);
    assert!(!output.status.success(), "{text}");
    for part in expected {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

#[test]
fn each_image_is_pushed_by_digest_as_an_oci_image_with_labels() {
    let _registry = Registry::start().unwrap();
    let registry = Registry::name();
    let printed = e2e::succeed(&mut push(&registry)).unwrap();
    let record = pushed().unwrap();
    assert_eq!(record["registry"], registry);
    let head = e2e::succeed(Command::new("git").args(["rev-parse", "HEAD"])).unwrap();
    let revision = record["revision"].as_str().unwrap();
    assert!(revision.starts_with(head.trim()), "{revision}");
    let images = record["images"].as_array().unwrap();
    let names: Vec<_> = images
        .iter()
        .map(|image| image["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, IMAGES);
    for image in images {
        check(image, &printed).unwrap_or_else(|error| panic!("{image}: {error:#}"));
    }
    // The registry has the images, so nothing changes.
    e2e::succeed(&mut push(&registry)).unwrap();
    assert_eq!(pushed().unwrap(), record);
}

/// Compares what the registry has with the record of an image.
fn check(image: &Value, printed: &str) -> Result<()> {
    let text = |field: &str| image[field].as_str().with_context(|| field.to_owned());
    let (name, reference, digest, tag) = (text("name")?, text("reference")?, text("digest")?, text("tag")?);
    let repository = format!("{}/{name}", Registry::name());
    ensure!(reference == format!("{repository}@{digest}"), "{reference}");
    ensure!(
        printed.lines().any(|line| line == reference),
        "not printed: {printed}"
    );
    // The manifests name the image by this tag.
    let by_tag = crane(&["digest", &format!("{repository}:{tag}")])?;
    ensure!(by_tag.trim() == digest, "the tag is {by_tag}");

    let manifest = part("manifest", reference)?;
    ensure!(
        manifest["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
            && manifest["config"]["mediaType"] == "application/vnd.oci.image.config.v1+json",
        "{manifest}"
    );
    let config = part("config", reference)?["config"].take();
    let version = format!("{}+{tag}", env!("CARGO_PKG_VERSION"));
    let expected = json!({
        "org.opencontainers.image.title": name,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.revision": image["revision"],
    });
    ensure!(config["Labels"] == expected, "{}", config["Labels"]);
    Ok(())
}

#[test]
fn a_tag_never_moves_to_another_image() {
    let _registry = Registry::start().unwrap();
    let registry = Registry::name();
    e2e::succeed(&mut push(&registry)).unwrap();
    let first = reference("app-a").unwrap();
    let url = "https://example.com/repository";
    let output = e2e::output(push(&registry).env("IMAGE_SOURCE", url)).unwrap();
    let printed = e2e::text(&output);
    assert!(output.status.success(), "{printed}");
    let digest_of_first = first.rsplit('@').next().unwrap();
    for part in ["warning: ", "is already another image", digest_of_first] {
        assert!(printed.contains(part), "{part:?} is missing in: {printed}");
    }
    let record = pushed().unwrap();
    let tag = record["images"][0]["tag"].as_str().unwrap();
    let present = crane(&["digest", &format!("{registry}/app-a:{tag}")]).unwrap();
    assert_eq!(present.trim(), digest_of_first);
    // The image itself is there, so it can be deployed by its digest.
    let archive = paths::target().join("images-quick/app-a.tar");
    let digest = testbed::archive::image_digest(&archive).unwrap();
    let second = format!("{registry}/app-a@{digest}");
    assert_ne!(first, second);
    assert_eq!(reference("app-a").unwrap(), second);
    let labels = part("config", &second).unwrap()["config"]["Labels"].take();
    assert_eq!(labels["org.opencontainers.image.source"], url);
}

#[test]
fn the_errors_say_what_to_do() {
    let registry = Registry::start_with_accounts().unwrap();
    let name = Registry::name();
    // An empty folder: not the credentials of the user who runs the tests.
    let docker = registry.folder().join("docker");
    fs::create_dir(&docker).unwrap();
    let push_to = |registry: &str| {
        let mut command = push(registry);
        e2e::output(command.env("DOCKER_CONFIG", &docker)).unwrap()
    };
    refused(&push_to(&name), &["docker login 127.0.0.1:5000"]);
    // Port 1 of a network without other processes.
    refused(&push_to("127.0.0.1:1"), &["127.0.0.1:1 cannot be reached"]);
    refused(&push_to("https://127.0.0.1:5000"), &["without https://"]);

    // What `docker login` writes: base64 of tester:secret.
    let login = json!({ "auths": { &name: { "auth": "dGVzdGVyOnNlY3JldA==" } } });
    fs::write(docker.join("config.json"), login.to_string()).unwrap();
    let output = push_to(&name);
    assert!(output.status.success(), "{}", e2e::text(&output));
}
