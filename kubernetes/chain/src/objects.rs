//! Accessors of objects: names, references, pods, containers, ports.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::yaml::parse;

/// Returns the string at a JSON pointer, or the empty string.
#[must_use]
pub fn text<'object>(object: &'object Value, pointer: &str) -> &'object str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Returns the list at a JSON pointer, or the empty list.
#[must_use]
pub fn list<'object>(object: &'object Value, pointer: &str) -> &'object [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Returns the mapping of strings at a JSON pointer, such as labels.
#[must_use]
pub fn labels(object: &Value, pointer: &str) -> BTreeMap<String, String> {
    let labels = object.pointer(pointer).and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs
        .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// Returns the kind of an object.
#[must_use]
pub fn kind(object: &Value) -> &str {
    text(object, "/kind")
}

/// Returns the name of an object.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// Returns the namespace of an object, or the empty string for a cluster-scoped object.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

/// Returns `Kind namespace/name`, for messages.
#[must_use]
pub fn title(object: &Value) -> String {
    match namespace(object) {
        "" => format!("{} {}", kind(object), name(object)),
        namespace => format!("{} {namespace}/{}", kind(object), name(object)),
    }
}

/// Returns all objects of a kind.
pub fn of_kind<'objects>(
    objects: &'objects [Value],
    of: &'objects str,
) -> impl Iterator<Item = &'objects Value> {
    objects.iter().filter(move |object| kind(object) == of)
}

/// Finds an object by its kind, namespace and name.
#[must_use]
pub fn find<'objects>(
    objects: &'objects [Value],
    of_kind: &str,
    in_namespace: &str,
    with_name: &str,
) -> Option<&'objects Value> {
    objects.iter().find(|object| {
        kind(object) == of_kind && namespace(object) == in_namespace && name(object) == with_name
    })
}

/// Returns the pod template of a workload.
#[must_use]
pub fn pod_template(object: &Value) -> Option<&Value> {
    match kind(object) {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => object.pointer("/spec/template"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        "Pod" => Some(object),
        _ => None,
    }
}

/// Returns the workloads, each with its pod template.
pub fn workloads(objects: &[Value]) -> impl Iterator<Item = (&Value, &Value)> {
    objects
        .iter()
        .filter_map(|object| Some((object, pod_template(object)?)))
}

/// Returns the workloads of a namespace whose pods match a selector.
pub fn selected<'objects>(
    objects: &'objects [Value],
    in_namespace: &'objects str,
    selector: &'objects BTreeMap<String, String>,
) -> impl Iterator<Item = (&'objects Value, &'objects Value)> {
    workloads(objects).filter(move |(object, template)| {
        namespace(object) == in_namespace && !selector.is_empty() && has_labels(template, selector)
    })
}

/// Whether the pods of a template have all labels of a selector.
#[must_use]
pub fn has_labels(template: &Value, selector: &BTreeMap<String, String>) -> bool {
    let labels = labels(template, "/metadata/labels");
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether labels match the label selector at a JSON pointer, with `matchLabels` and `matchExpressions`. An empty selector
/// matches everything.
#[must_use]
pub fn matches_selector(object: &Value, pointer: &str, of: &BTreeMap<String, String>) -> bool {
    let wanted = labels(object, &format!("{pointer}/matchLabels"));
    let has_labels = wanted.iter().all(|(key, value)| of.get(key) == Some(value));
    let expressions = list(object, &format!("{pointer}/matchExpressions"));
    has_labels
        && expressions.iter().all(|expression| {
            let found = of.get(text(expression, "/key"));
            let is_listed =
                found.is_some_and(|found| list(expression, "/values").iter().any(|value| value == found));
            match text(expression, "/operator") {
                "In" => is_listed,
                "NotIn" => !is_listed,
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => false,
            }
        })
}

/// Returns all containers of a pod template, init containers included.
pub fn containers(template: &Value) -> impl Iterator<Item = &Value> {
    list(template, "/spec/initContainers")
        .iter()
        .chain(list(template, "/spec/containers"))
}

/// Returns the named ports of a container.
pub fn named_ports(container: &Value) -> impl Iterator<Item = (&str, u64)> {
    list(container, "/ports")
        .iter()
        .filter_map(|port| Some((port.get("name")?.as_str()?, port.get("containerPort")?.as_u64()?)))
}

/// Resolves a port, given by name or number, to the number of a port of a container.
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

/// Returns the environment variables of a container that have a literal value.
#[must_use]
pub fn environment(container: &Value) -> BTreeMap<&str, &str> {
    let variables = list(container, "/env").iter();
    variables
        .filter_map(|variable| Some((variable.get("name")?.as_str()?, variable.get("value")?.as_str()?)))
        .collect()
}

/// Returns the environment variables of a container that have a literal value. Expands `$(NAME)` of earlier variables, as the
/// kubelet does.
#[must_use]
pub fn expanded_environment(container: &Value) -> BTreeMap<&str, String> {
    let mut expanded = BTreeMap::new();
    for variable in list(container, "/env") {
        if let (Some(name), Some(value)) = (variable["name"].as_str(), variable["value"].as_str()) {
            expanded.insert(name, expand(&expanded, value));
        }
    }
    expanded
}

/// Replaces each `$(NAME)` in an argument or a value by the variable. Leaves unknown names unchanged.
#[must_use]
pub fn expand(variables: &BTreeMap<&str, String>, text: &str) -> String {
    variables.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("$({name})"), value)
    })
}

/// Returns the value of a flag in the form `--flag=value` or `--flag value`, from the command or the arguments.
#[must_use]
pub fn flag<'container>(container: &'container Value, flag: &str) -> Option<&'container str> {
    let words =
        ["/command", "/args"].map(|pointer| list(container, pointer).iter().filter_map(Value::as_str));
    let words: Vec<&str> = words.into_iter().flatten().collect();
    let joined = words
        .iter()
        .filter_map(|word| word.strip_prefix(flag)?.strip_prefix('='));
    let separate = words
        .windows(2)
        .filter(|pair| pair[0] == flag)
        .map(|pair| pair[1]);
    joined.chain(separate).next_back()
}

/// A file in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountedFile<'objects> {
    /// The content, from a ConfigMap.
    Text(&'objects str),
    /// A ConfigMap of the objects is mounted there, but has no such file; or nothing is mounted there.
    Missing,
    /// The file comes from an object that is not among the objects, or from another type of volume.
    Elsewhere,
}

/// Finds the file at `path` in a container.
#[must_use]
pub fn mounted_file<'objects>(
    objects: &'objects [Value],
    in_namespace: &str,
    template: &Value,
    container: &Value,
    path: &str,
) -> MountedFile<'objects> {
    let mut found = MountedFile::Missing;
    for mount in list(container, "/volumeMounts") {
        let Some(below) = path.strip_prefix(text(mount, "/mountPath").trim_end_matches('/')) else {
            continue;
        };
        let file = match (below, text(mount, "/subPath")) {
            ("", sub_path) => sub_path,
            (below, "") if below.starts_with('/') => below.trim_start_matches('/'),
            _ => continue,
        };
        let mut volumes = list(template, "/spec/volumes").iter();
        let volume = volumes.find(|volume| text(volume, "/name") == text(mount, "/name"));
        found = volume.map_or(MountedFile::Missing, |volume| {
            file_of_volume(objects, in_namespace, volume, file)
        });
        if matches!(found, MountedFile::Text(_)) {
            return found;
        }
    }
    found
}

fn file_of_volume<'objects>(
    objects: &'objects [Value],
    in_namespace: &str,
    volume: &Value,
    file: &str,
) -> MountedFile<'objects> {
    let config_map = find(
        objects,
        "ConfigMap",
        in_namespace,
        text(volume, "/configMap/name"),
    );
    let Some(config_map) = config_map else {
        return MountedFile::Elsewhere;
    };
    let mut items = list(volume, "/configMap/items").iter();
    let key = match items.find(|item| text(item, "/path") == file) {
        Some(item) => text(item, "/key"),
        None => file,
    };
    let data = config_map.pointer("/data").and_then(Value::as_object);
    let content = data.and_then(|data| data.get(key)?.as_str());
    content.map_or(MountedFile::Missing, MountedFile::Text)
}

/// Finds a file of a ConfigMap by its content, and returns the parsed file.
pub(crate) fn find_file(objects: &[Value], is_wanted: impl Fn(&Value) -> bool) -> Option<Value> {
    of_kind(objects, "ConfigMap").find_map(|config_map| {
        let files = config_map.pointer("/data").and_then(Value::as_object);
        // Files of other formats are common.
        files
            .into_iter()
            .flatten()
            .filter_map(|(_, file)| parse(file.as_str()?).ok()?.into_iter().next())
            .find(&is_wanted)
    })
}

/// Returns the number of the container port to which a port of a Service leads. A number needs no declaration in the
/// container.
#[must_use]
pub fn target_port(template: &Value, port: &Value) -> Option<u64> {
    match port.get("targetPort") {
        Some(Value::String(name)) => resolve_port(template, &Value::from(name.as_str())),
        Some(number) => number.as_u64(),
        None => port.get("port")?.as_u64(),
    }
}
