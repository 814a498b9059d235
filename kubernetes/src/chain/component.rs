//! A component of the monitoring: Prometheus or the adapter. It is found by a flag of its container.

use crate::{
    objects::{self, containers, flag, labels, list, mounted_file, name, namespace, text, title, workloads},
    permissions::Account,
    render,
};
use serde_json::Value;

/// The container and the workload that creates its pods.
#[derive(Clone, Copy)]
pub struct Component<'objects> {
    pub(super) workload: &'objects Value,
    pub(super) template: &'objects Value,
    pub(super) container: &'objects Value,
}

impl<'objects> Component<'objects> {
    /// Finds the first container that has a flag.
    pub(super) fn with_flag(objects: &'objects [Value], name: &str) -> Option<Self> {
        workloads(objects).find_map(|(workload, template)| {
            let container = containers(template).find(|container| flag(container, name).is_some())?;
            Some(Self {
                workload,
                template,
                container,
            })
        })
    }

    /// Returns the value of a flag of the container.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&'objects str> {
        flag(self.container, name)
    }

    /// Reads the YAML file that a flag names, from the ConfigMap mounted at its path.
    pub(super) fn file_of(&self, objects: &[Value], name: &str) -> Result<Value, String> {
        let of = title(self.workload);
        let path = self.flag(name).ok_or_else(|| format!("{of} has no {name}"))?;
        let namespace = namespace(self.workload);
        let file = mounted_file(objects, namespace, self.template, self.container, path)
            .ok_or_else(|| format!("{of} has no file {path}"))?;
        let mut documents = render::parse(file).map_err(|error| format!("{path}: {error}"))?;
        documents.pop().ok_or_else(|| format!("{path} is empty"))
    }

    /// Returns the value of a flag of the container, with its `$(NAME)` expanded.
    pub(super) fn expanded_flag(&self, name: &str) -> Option<String> {
        let variables = objects::expanded_environment(self.container);
        Some(objects::expand(&variables, self.flag(name)?))
    }

    /// Returns the content of the file `namespace` beside the token: the namespace of the pod, unless a volume replaces the
    /// automatic one.
    pub(super) fn own_namespace(&self) -> &'objects str {
        const DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let mounts = list(self.container, "/volumeMounts").iter();
        let mount = mounts
            .into_iter()
            .find(|mount| text(mount, "/mountPath") == DIRECTORY);
        let field = mount
            .and_then(|mount| {
                let mut volumes = list(self.template, "/spec/volumes").iter();
                volumes.find(|volume| text(volume, "/name") == text(mount, "/name"))
            })
            .into_iter()
            .flat_map(|volume| list(volume, "/projected/sources"))
            .flat_map(|source| list(source, "/downwardAPI/items"))
            .find(|item| text(item, "/path") == "namespace")
            .map_or("metadata.namespace", |item| text(item, "/fieldRef/fieldPath"));
        let annotation = field
            .strip_prefix("metadata.annotations['")
            .and_then(|rest| rest.strip_suffix("']"));
        match annotation {
            Some(key) => self.template["metadata"]["annotations"][key]
                .as_str()
                .unwrap_or_default(),
            None => namespace(self.workload),
        }
    }

    /// Returns the service account of the pods.
    #[must_use]
    pub fn account(&self) -> Account<'objects> {
        let account = text(self.template, "/spec/serviceAccountName");
        Account {
            namespace: namespace(self.workload),
            name: if account.is_empty() {
                name(self.workload)
            } else {
                account
            },
        }
    }

    /// Checks that a Service selects the pods.
    pub(super) fn check_selected_by(&self, service: &Value) -> Result<(), String> {
        let is_selected = namespace(self.workload) == namespace(service)
            && objects::has_labels(self.template, &labels(service, "/spec/selector"));
        is_selected.then_some(()).ok_or_else(|| {
            format!(
                "{} does not select the pods of {}",
                title(service),
                title(self.workload)
            )
        })
    }
}
