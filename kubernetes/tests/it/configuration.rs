//! Parses the settings in the manifests with the code of the binaries that read them.

use crate::rendered::{BASE, OVERLAYS, Overlay, all_overlays};
use chain_check::prometheus::Prometheus;
use clap::{Command, CommandFactory, Parser};
use manifests::objects::{self, containers, list, text};
use serde_json::Value;
use service::config::{Configuration, ServiceConfig};
use serving_cert::config::{Command as ServingCert, Config as ServingCertConfig};
use std::{collections::BTreeSet, path::Path, time::Duration};

/// Returns the container of an image, and its pod template.
fn container<'overlay>(overlay: &'overlay Overlay, image: &str) -> (&'overlay Value, &'overlay Value) {
    let mut found = objects::workloads(&overlay.objects).flat_map(|(_, template)| {
        // The image of an overlay for EKS has a registry before its name.
        let runs_image = move |container: &&Value| {
            let name = text(container, "/image").rsplit('/').next();
            name.and_then(|name| name.split([':', '@']).next()) == Some(image)
        };
        containers(template)
            .filter(runs_image)
            .map(move |container| (template, container))
    });
    let one = found
        .next()
        .unwrap_or_else(|| panic!("overlay {}: no container runs {image}", overlay.name));
    assert!(
        found.next().is_none(),
        "overlay {}: several containers run {image}",
        overlay.name
    );
    one
}

/// Returns the configuration of a service in the cluster, its pod template and its container.
pub(crate) fn service<'overlay, C: Configuration>(
    overlay: &'overlay Overlay,
    image: &str,
) -> (C, &'overlay Value, &'overlay Value) {
    let (template, container) = container(overlay, image);
    let command = <C as CommandFactory>::command();
    let words = [command.get_name().to_owned()]
        .into_iter()
        .chain(flags(&command, container));
    let config = C::try_parse_from(words).unwrap_or_else(|error| panic!("overlay {}: {error}", overlay.name));
    assert_eq!(config.check(), Ok(()), "overlay {}: {image}", overlay.name);
    (config, template, container)
}

fn expect_time_to_drain<C: Configuration>(image: &str, settings: impl Fn(&C) -> &ServiceConfig) {
    for overlay in OVERLAYS.iter() {
        let (config, template, _) = service::<C>(overlay, image);
        let settings = settings(&config);
        let drain = settings.drain_delay + settings.drain_deadline;
        let grace = template
            .pointer("/spec/terminationGracePeriodSeconds")
            .and_then(Value::as_u64);
        let grace = Duration::from_secs(grace.expect("a grace period"));
        assert!(
            grace > drain,
            "overlay {}: {image} drains for {drain:?}, but its grace period is {grace:?}",
            overlay.name
        );
    }
}

#[test]
fn the_grace_period_exceeds_the_drain() {
    expect_time_to_drain::<app_a::Config>("app-a", |config| &config.service);
    expect_time_to_drain::<app_b::Config>("app-b", |config| &config.service);
}

fn expect_open_ports<C: Configuration>(image: &str, settings: impl Fn(&C) -> &ServiceConfig) {
    for overlay in OVERLAYS.iter() {
        let (config, template, container) = service::<C>(overlay, image);
        let settings = settings(&config);
        let (listen, admin) = (settings.listen, settings.admin_listen);
        for (name, address) in [("http", listen), ("admin", admin)] {
            let port = objects::resolve_port(template, &Value::from(name));
            let what = format!(
                "overlay {}: {image} listens on {address}, {name} is {port:?}",
                overlay.name
            );
            assert_eq!(port, Some(u64::from(address.port())), "{what}");
            assert!(!address.ip().is_loopback(), "{what}");
        }
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert_eq!(
                text(container, &format!("/{probe}/httpGet/port")),
                "admin",
                "{image}: {probe}"
            );
        }
        let prometheus = Prometheus::find(&overlay.objects).expect("a Prometheus");
        let workload =
            objects::find(&overlay.objects, "Deployment", "sample-app", image).expect("a Deployment");
        let (targets, _) = prometheus.targets(&overlay.objects, workload, template);
        // Several jobs scrape the same port.
        let scraped: BTreeSet<_> = targets
            .iter()
            .map(|target| (target.port, target.path.as_str()))
            .collect();
        assert_eq!(
            scraped,
            BTreeSet::from([(u64::from(admin.port()), "/metrics")]),
            "overlay {}: {image}",
            overlay.name
        );
    }
}

#[test]
fn services_listen_on_the_ports_of_their_containers() {
    expect_open_ports::<app_a::Config>("app-a", |config| &config.service);
    expect_open_ports::<app_b::Config>("app-b", |config| &config.service);
}

#[test]
fn app_a_terminates_tls_locally_on_the_port_of_its_service() {
    let is_local = |overlay: &&Overlay| overlay.name.starts_with("local");
    for overlay in OVERLAYS.iter().filter(is_local) {
        let (config, template, _) = service::<app_a::Config>(overlay, "app-a");
        let what = format!("overlay {}", overlay.name);
        let listen = config.tls.listen.expect(&what);
        assert!(!listen.ip().is_loopback(), "{what}");
        let service = objects::find(&overlay.objects, "Service", "sample-app", "app-a").expect("a Service");
        let port = list(service, "/spec/ports")
            .iter()
            .find(|port| port["port"] == 443)
            .expect(&what);
        let target = objects::resolve_port(template, &port["targetPort"]);
        assert_eq!(target, Some(u64::from(listen.port())), "{what}");
        assert_eq!(port["nodePort"], 30_443, "{what}");
    }
}

#[test]
fn only_the_local_overlays_accept_a_self_signed_certificate() {
    for overlay in OVERLAYS.iter().chain([&*BASE]) {
        let (config, template, container) = service::<app_a::Config>(overlay, "app-a");
        let is_local = overlay.name.starts_with("local");
        assert_eq!(config.tls.self_signed, is_local, "overlay {}", overlay.name);
        let Some(certificate) = &config.tls.certificate_file else {
            assert!(!is_local, "overlay {} has no Secret", overlay.name);
            continue;
        };
        expect_mounted_secret(template, container, certificate, "app-a-tls");
    }
}

#[test]
fn services_know_the_name_of_their_pod() {
    for overlay in OVERLAYS.iter() {
        for image in ["app-a", "app-b"] {
            let (_, container) = container(overlay, image);
            let is_set = list(container, "/env").iter().any(|variable| {
                text(variable, "/name") == "POD_NAME"
                    && text(variable, "/valueFrom/fieldRef/fieldPath") == "metadata.name"
            });
            assert!(is_set, "overlay {}: {image} has no POD_NAME", overlay.name);
        }
    }
}

#[test]
fn app_a_calls_app_b_through_an_existing_service() {
    for overlay in all_overlays() {
        let (config, template, _) = service::<app_a::Config>(overlay, "app-a");
        let url = config.app_b.url;
        let host = url.host_str().expect("a host");
        let mut workloads = objects::workloads(&overlay.objects);
        let (app_a, _) = workloads
            .find(|(_, other)| *other == template)
            .expect("a workload");
        // The host contains no namespace, so it is a Service in the namespace of app_a.
        let found = objects::find(&overlay.objects, "Service", objects::namespace(app_a), host)
            .unwrap_or_else(|| panic!("overlay {}: no Service for {url}", overlay.name));
        let selector = objects::labels(found, "/spec/selector");
        let (app_b, _) = container(overlay, "app-b");
        assert!(
            objects::has_labels(app_b, &selector),
            "overlay {}: {url} is not app-b",
            overlay.name
        );
        let ports = list(found, "/spec/ports")
            .iter()
            .filter_map(|port| port["port"].as_u64());
        let ports: Vec<_> = ports.collect();
        let port = url.port_or_known_default().map(u64::from).expect("a port");
        assert!(
            ports.contains(&port),
            "overlay {}: {url}, but the Service has {ports:?}",
            overlay.name
        );
    }
}

#[test]
fn app_b_stores_its_database_on_a_volume() {
    for overlay in OVERLAYS.iter() {
        let (_, _, container) = service::<app_b::Config>(overlay, "app-b");
        let url = objects::environment(container)["DATABASE_URL"];
        let file = url.strip_prefix("sqlite://").expect("SQLite");
        let mounts = list(container, "/volumeMounts").iter();
        let mounted = mounts
            .filter(|mount| mount.get("readOnly") != Some(&Value::Bool(true)))
            .any(|mount| file.starts_with(&format!("{}/", text(mount, "/mountPath"))));
        assert!(
            mounted,
            "overlay {}: {url} is on the read-only root file system",
            overlay.name
        );
    }
}

#[test]
fn only_the_local_overlays_accept_the_demonstration_users() {
    for overlay in OVERLAYS.iter().chain([&*BASE]) {
        let (config, ..) = service::<app_b::Config>(overlay, "app-b");
        let accepts = config.user_source() == Ok(app_b::Source::Demo);
        assert_eq!(
            accepts,
            overlay.name.starts_with("local"),
            "overlay {}",
            overlay.name
        );
        let names_them = overlay
            .objects
            .iter()
            .any(|object| object.to_string().contains("DEMO_USERS"));
        assert_eq!(
            names_them,
            overlay.name.starts_with("local"),
            "overlay {}",
            overlay.name
        );
    }
}

#[test]
fn the_users_are_in_a_secret_whose_changes_reach_the_pods() {
    let (config, template, container) = service::<app_b::Config>(&BASE, "app-b");
    let Ok(app_b::Source::File(path)) = config.user_source() else {
        panic!("the base has no users file")
    };
    expect_mounted_secret(template, container, &path, "app-b-users");
}

/// Expects that a file is in a mounted Secret, whose changes reach the pod.
fn expect_mounted_secret(template: &Value, container: &Value, file: &Path, secret: &str) {
    let folder = file.parent().and_then(Path::to_str).expect("a folder");
    let mount = list(container, "/volumeMounts")
        .iter()
        .find(|mount| text(mount, "/mountPath") == folder)
        .unwrap_or_else(|| panic!("no volume is mounted at {folder}"));
    // A mount with subPath never changes.
    assert_eq!(mount.get("subPath"), None);
    let volume = list(template, "/spec/volumes")
        .iter()
        .find(|volume| volume.get("name") == mount.get("name"));
    assert_eq!(text(volume.expect("a volume"), "/secret/secretName"), secret);
}

/// Returns the environment of a container as flags, so that no test changes its own environment. Panics if neither the binary
/// nor another variable reads a variable.
fn flags(command: &Command, container: &Value) -> Vec<String> {
    let arguments: Vec<_> = command.get_arguments().collect();
    let environment = objects::expanded_environment(container);
    list(container, "/env")
        .iter()
        .filter(|variable| {
            let reference = format!("$({})", text(variable, "/name"));
            let mut values = objects::environment(container).into_values();
            !values.any(|value| value.contains(&reference))
        })
        .map(|variable| {
            let name = text(variable, "/name");
            let argument = arguments
                .iter()
                .find(|argument| argument.get_env().is_some_and(|env| env == name));
            let long = argument.and_then(|argument| argument.get_long());
            let long = long.unwrap_or_else(|| panic!("{} does not read {name}", command.get_name()));
            // A placeholder for a value of the downward API.
            let value = if variable.get("valueFrom").is_some() {
                "filled-in"
            } else {
                environment[name].as_str()
            };
            format!("--{long}={value}")
        })
        .collect()
}

#[test]
fn the_sidecar_accepts_its_settings_and_renews_early() {
    for overlay in OVERLAYS.iter() {
        let (_, container) = container(overlay, "serving-cert");
        let command = ServingCertConfig::command();
        let arguments = list(container, "/args")
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned);
        let [subcommand] = arguments.collect::<Vec<_>>().try_into().expect("one argument");
        let subcommand_flags = flags(
            command.find_subcommand(&subcommand).expect("a subcommand"),
            container,
        );
        let words = ["serving-cert".to_owned(), subcommand]
            .into_iter()
            .chain(subcommand_flags);
        let config = ServingCertConfig::try_parse_from(words)
            .unwrap_or_else(|error| panic!("overlay {}: {error}", overlay.name));
        let ServingCert::Run(run) = config.command else {
            panic!("overlay {}: not `run`", overlay.name)
        };
        assert!(
            run.validity / 3 > Duration::from_hours(24),
            "less than a day to notice that renewals fail"
        );
        assert!(
            run.reconcile_interval <= Duration::from_mins(1),
            "a wrong caBundle stays for more than a minute"
        );
    }
}
