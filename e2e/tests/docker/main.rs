//! The images and docker-compose.yml in a real Docker engine.

mod engine;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::{eventually, request, xtask};
use serde_json::{Value, json};
use testbed::paths;

use crate::engine::{Compose, Engine};

/// `app_a`, as docker-compose.yml publishes it.
const APP_A: ([u8; 4], u16) = ([127, 0, 0, 1], 5000);

/// The containers of docker-compose.yml, each with whether it has a health check.
const CONTAINERS: [(&str, bool); 3] = [("app_a", true), ("app_b", true), ("prometheus", false)];

#[test]
fn compose_1_runs_the_loaded_images_and_survives_a_killed_backend() {
    check(&Engine::start().unwrap(), Compose::One);
}

#[test]
fn compose_2_runs_the_loaded_images_and_survives_a_killed_backend() {
    check(&Engine::start().unwrap(), Compose::Two);
}

fn check(engine: &Engine, version: Compose) {
    if let Err(error) = compose(engine, version) {
        let parts = [
            engine.compose(version, &["ps"]),
            engine.compose(version, &["logs", "--tail=30"]),
        ];
        let parts = parts.map(|part| part.unwrap_or_else(|error| format!("{error:#}")));
        panic!("{error:#}\n{}\n{}", parts.join("\n"), engine.log());
    }
}

fn compose(engine: &Engine, version: Compose) -> Result<()> {
    e2e::succeed(engine.with(&mut xtask(&["images", "--quick", "--load"])))?;
    // The image of Prometheus that the testbed uses: its own build, with the name of the upstream image.
    testbed::images::write_upstream()?;
    let upstream = testbed::images::upstream();
    let prometheus = upstream
        .iter()
        .find(|image| image.reference.contains("/prometheus:"));
    let archive = prometheus
        .context("the testbed has no image of Prometheus")?
        .archive();
    engine.docker(&["load", "--input", &archive.display().to_string()])?;

    // Returns only after the health checks of app_b and app_a have passed.
    engine.compose(version, &["up", "--no-build", "--detach"])?;
    for (service, has_health_check) in CONTAINERS {
        let health = inspect(engine, version, service)?["State"]["Health"]["Status"].clone();
        ensure!(!has_health_check || health == "healthy", "{service}: {health}");
    }
    expect("GET", "/hello", "Hello there")?;
    expect("PUT", "/jobs", "Jobs:\nTitle: Devops\nDescription: Awesome\n")?;
    only_app_a_is_published(engine, version)?;
    eventually("Prometheus has counted a request of each service", || {
        prometheus_counts(engine, version)
    })?;

    // Docker restarts the process. Meanwhile app_a answers 502.
    engine.kill_process(&container(engine, version, "app_b")?)?;
    expect("GET", "/hello", "Hello there")?;
    eventually("app_b was restarted", || {
        let restarts = inspect(engine, version, "app_b")?["RestartCount"].clone();
        ensure!(restarts.as_u64() >= Some(1), "{restarts} restarts");
        expect("PUT", "/jobs", "Jobs:\n")
    })?;

    engine.compose(version, &["stop"])?;
    for (service, _) in CONTAINERS {
        let state = inspect(engine, version, service)?["State"].clone();
        ensure!(
            state["Status"] == "exited" && state["ExitCode"] == 0,
            "{service}: {state}"
        );
    }
    Ok(())
}

/// The ID of the container of a service, also of a stopped one.
fn container(engine: &Engine, version: Compose, service: &str) -> Result<String> {
    let printed = engine.compose(version, &["ps", "--all", "--quiet", service])?;
    let id = printed.trim();
    ensure!(!id.is_empty(), "{service} has no container");
    Ok(id.to_owned())
}

/// What Docker knows about the container of a service.
fn inspect(engine: &Engine, version: Compose, service: &str) -> Result<Value> {
    let text = engine.docker(&["inspect", &container(engine, version, service)?])?;
    Ok(serde_json::from_str::<Value>(&text)?[0].take())
}

/// Sends a request with the demo token to `app_a`. Expects status 200 and this text in the body.
fn expect(method: &str, path: &str, body: &str) -> Result<()> {
    let response = request(
        SocketAddr::from(APP_A),
        method,
        path,
        &[("Authorization", "mytoken")],
    )?;
    ensure!(
        response.starts_with("HTTP/1.1 200") && response.contains(body),
        "{response}"
    );
    Ok(())
}

fn only_app_a_is_published(engine: &Engine, version: Compose) -> Result<()> {
    for (service, _) in CONTAINERS {
        let ports = inspect(engine, version, service)?["HostConfig"]["PortBindings"].clone();
        let published: Vec<_> = ports.as_object().into_iter().flatten().collect();
        let expected = usize::from(service == "app_a");
        ensure!(published.len() == expected, "{service}: {ports}");
    }
    Ok(())
}

/// Queries Prometheus on its address in the networks of the containers.
fn prometheus_counts(engine: &Engine, version: Compose) -> Result<()> {
    let networks = inspect(engine, version, "prometheus")?["NetworkSettings"]["Networks"].take();
    let address = networks
        .as_object()
        .into_iter()
        .flatten()
        .find_map(|(_, network)| network["IPAddress"].as_str());
    let address = format!("{}:9090", address.context("Prometheus has no address")?).parse()?;
    for route in ["/hello", "/jobs", "/auth"] {
        let query = format!(
            "/api/v1/query?query=http_requests_total%7Broute%3D%22{}%22%7D%3E0",
            route.replace('/', "%2F")
        );
        let response = request(address, "GET", &query, &[])?;
        ensure!(
            response.contains(&format!("\"route\":\"{route}\"")),
            "{route}: {response}"
        );
    }
    Ok(())
}

#[test]
fn both_versions_accept_the_file_and_publish_app_a_alone_where_the_user_says() {
    for version in [Compose::One, Compose::Two] {
        e2e::succeed(&mut version.command(&["config", "--quiet"])).unwrap();
    }
    for (publish, address) in [(None, "127.0.0.1"), (Some("0.0.0.0:5000"), "0.0.0.0")] {
        let mut command = Compose::Two.command(&["config", "--format=json"]);
        command
            .env_remove("PUBLISH")
            .envs(publish.map(|publish| ("PUBLISH", publish)));
        let file: Value = serde_json::from_str(&e2e::succeed(&mut command).unwrap()).unwrap();
        for (service, _) in CONTAINERS {
            let ports = &file["services"][service]["ports"];
            let expected = match service {
                "app_a" => json!([{
                    "mode": "ingress", "host_ip": address, "target": 5000, "published": "5000", "protocol": "tcp"
                }]),
                _ => Value::Null,
            };
            assert_eq!(*ports, expected, "{service} with PUBLISH={publish:?}");
        }
    }
}

#[test]
fn the_dockerfile_gives_images_with_the_configuration_of_the_archives() {
    let engine = Engine::start().unwrap();
    build_and_compare(&engine).unwrap_or_else(|error| panic!("{error:#}\n{}", engine.log()));
}

/// The fields of an image's configuration that an instruction of a Dockerfile sets.
const FIELDS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];

fn build_and_compare(engine: &Engine) -> Result<()> {
    e2e::succeed(engine.with(&mut xtask(&["images", "--quick", "--load"])))?;
    let context = engine.folder().join("context");
    fs::create_dir(&context)?;
    fs::write(context.join("Dockerfile"), with_compiled_programs()?)?;
    let programs = paths::target().join(paths::host()?).join("quick");
    for program in ["app_a", "app_b", "serving-cert", "loadtest"] {
        fs::copy(programs.join(program), context.join(program))?;
    }
    fs::create_dir(context.join("data"))?;
    for (target, image) in [
        ("app_a", "app-a"),
        ("app_b", "app-b"),
        ("serving-cert", "serving-cert"),
        ("loadtest", "loadtest"),
    ] {
        let archive = configuration(engine, image)?;
        let built = build(engine, &context, target, &build_arguments(&archive)?)?;
        for field in FIELDS {
            ensure!(
                built[field] == archive[field],
                "{field} of {image}: the Dockerfile gives {}, the archive has {}",
                built[field],
                archive[field]
            );
        }
    }
    let unlabelled = build(engine, &context, "app_a", &[])?;
    for variable in ["IMAGE_TAG=unknown", "IMAGE_REVISION=unknown"] {
        let environment = unlabelled["Env"].as_array().context("no environment")?;
        ensure!(
            environment.iter().any(|set| set == variable),
            "without build arguments: {environment:?}"
        );
    }
    let arguments = build_arguments(&unlabelled)?;
    ensure!(
        arguments == ["IMAGE_TAG=unknown", "IMAGE_REVISION=unknown"],
        "without build arguments: {arguments:?}"
    );
    Ok(())
}

/// Builds a target of the Dockerfile in `context`. Returns the configuration of the image.
fn build(engine: &Engine, context: &Path, target: &str, arguments: &[String]) -> Result<Value> {
    let (tag, context) = (format!("built-{target}"), context.display().to_string());
    let mut command = vec!["build", "--quiet", "--target", target, "--tag", &tag];
    for argument in arguments {
        command.extend(["--build-arg", argument]);
    }
    command.push(&context);
    engine.docker(&command)?;
    configuration(engine, &tag)
}

/// Returns the build arguments for the Dockerfile: what differs between builds, the tag of an image and the revision of its source.
fn build_arguments(configuration: &Value) -> Result<Vec<String>> {
    let label = |name: &str| {
        let value = &configuration["Labels"][format!("org.opencontainers.image.{name}")];
        value.as_str().with_context(|| format!("no label {name}"))
    };
    let (_, tag) = label("version")?
        .split_once('+')
        .context("the version has no tag")?;
    Ok(vec![
        format!("IMAGE_TAG={tag}"),
        format!("IMAGE_REVISION={}", label("revision")?),
    ])
}

/// The configuration of an image. An empty value and a missing one are the same.
fn configuration(engine: &Engine, image: &str) -> Result<Value> {
    let text = engine.docker(&["image", "inspect", image])?;
    let mut configuration = serde_json::from_str::<Value>(&text)?[0]["Config"].take();
    for (_, value) in configuration.as_object_mut().context("no configuration")? {
        let is_empty = value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty)
            || value.as_str() == Some("");
        if is_empty {
            value.take();
        }
    }
    Ok(configuration)
}

/// The Dockerfile, with stages that contain the compiled programs instead of the stages that compile them: the base image of
/// those cannot be pulled here.
fn with_compiled_programs() -> Result<String> {
    let text = fs::read_to_string(paths::workspace().join("Dockerfile"))?;
    let start = text
        .find("FROM scratch AS loadtest")
        .context("the Dockerfile has no stage loadtest")?;
    let programs = "FROM scratch AS services\nCOPY app_a app_b serving-cert /programs/\nCOPY data /data\n\
                    FROM scratch AS load-generator\nCOPY loadtest /programs/\n";
    Ok(format!("{programs}{}", &text[start..]))
}
