//! Finding one's way in objects: names, references, pods, containers, ports.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A text field by its JSON pointer, or the empty text.
#[must_use]
pub fn text<'object>(object: &'object Value, pointer: &str) -> &'object str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A list by its JSON pointer, or the empty list.
#[must_use]
pub fn list<'object>(object: &'object Value, pointer: &str) -> &'object [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// A mapping from text to text by its JSON pointer, such as labels.
#[must_use]
pub fn labels(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let labels = object.pointer(pointer).and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The object's kind.
#[must_use]
pub fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

/// The object's name.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The object's namespace; empty where it belongs to the cluster.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// `Kind namespace/name`, for people.
#[must_use]
pub fn title(object: &Value) -> String {
    match namespace(object) {
        "" => format!("{} {}", kind(object), name(object)),
        namespace => format!("{} {namespace}/{}", kind(object), name(object)),
    }
}

/// All objects of a kind.
pub fn of_kind<'objects>(
    objects: &'objects [Value],
    wanted: &'objects str,
) -> impl Iterator<Item = &'objects Value> {
    objects.iter().filter(move |object| kind(object) == wanted)
}

/// The object of that kind, namespace and name.
#[must_use]
pub fn find<'objects>(
    objects: &'objects [Value],
    wanted: &str,
    in_namespace: &str,
    called: &str,
) -> Option<&'objects Value> {
    objects
        .iter()
        .find(|object| kind(object) == wanted && namespace(object) == in_namespace && name(object) == called)
}

/// The pod template of an object that makes pods.
#[must_use]
pub fn pod_template(object: &Value) -> Option<&Value> {
    match kind(object) {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => object.pointer("/spec/template"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        "Pod" => Some(object),
        _ => None,
    }
}

/// Objects that make pods, with their pod templates.
pub fn workloads(objects: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    objects
        .iter()
        .filter_map(|object| Some((object, pod_template(object)?)))
}

/// Workloads of a namespace whose pods carry the labels of a `matchLabels` or a Service's selector.
pub fn selected<'objects>(
    objects: &'objects [Value],
    in_namespace: &'objects str,
    selector: &'objects BTreeMap<String, String>,
) -> impl Iterator<Item = (&'objects Value, &'objects Value)> {
    workloads(objects).filter(move |(object, template)| {
        namespace(object) == in_namespace && !selector.is_empty() && carries(template, selector)
    })
}

/// Whether pods of this template carry all of these labels.
#[must_use]
pub fn carries(template: &Value, selector: &BTreeMap<String, String>) -> bool {
    let labels = labels(template, "/metadata/labels");
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Every container of a pod template, sidecars and other init containers included.
pub fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    list(template, "/spec/initContainers")
        .iter()
        .chain(list(template, "/spec/containers"))
}

/// A container's ports that have a name.
pub fn named_ports(container: &Value) -> impl Iterator<Item = (&str, u64)> {
    list(container, "/ports")
        .iter()
        .filter_map(|port| Some((port.get("name")?.as_str()?, port.get("containerPort")?.as_u64()?)))
}

/// The number of a port that is given by name or number, if a container of the pod has it.
#[must_use]
pub fn resolve_port(template: &Value, port: &Value) -> Option<u64> {
    containers(template)
        .flat_map(|container| list(container, "/ports"))
        .find_map(|candidate| {
            let number = candidate.get("containerPort")?.as_u64()?;
            let is_meant = match port {
                Value::String(name) => candidate.get("name")?.as_str() == Some(name),
                other => other.as_u64() == Some(number),
            };
            is_meant.then_some(number)
        })
}

/// A container's environment variables that are given as text.
#[must_use]
pub fn environment(container: &Value) -> BTreeMap<&str, &str> {
    let variables = list(container, "/env").iter();
    variables
        .filter_map(|variable| Some((variable.get("name")?.as_str()?, variable.get("value")?.as_str()?)))
        .collect()
}

/// The value of a flag that is given as `--flag=value`.
#[must_use]
pub fn flag<'container>(container: &'container Value, flag: &str) -> Option<&'container str> {
    let arguments = list(container, "/args").iter().filter_map(Value::as_str);
    arguments
        .filter_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='))
        .next_back()
}

/// A file that a container sees at `path` through a mounted ConfigMap.
#[must_use]
pub fn mounted_file<'objects>(
    objects: &'objects [Value],
    in_namespace: &str,
    template: &Value,
    container: &Value,
    path: &str,
) -> Option<&'objects str> {
    list(container, "/volumeMounts").iter().find_map(|mount| {
        let file = path
            .strip_prefix(text(mount, "/mountPath"))?
            .trim_start_matches('/');
        let volume = list(template, "/spec/volumes")
            .iter()
            .find(|volume| text(volume, "/name") == text(mount, "/name"))?;
        let config_map = find(
            objects,
            "ConfigMap",
            in_namespace,
            text(volume, "/configMap/name"),
        )?;
        config_map
            .pointer("/data")
            .and_then(Value::as_object)
            .and_then(|data: &Map<_, _>| data.get(file)?.as_str())
    })
}
