//! Prometheus or the adapter. A flag of its container identifies it.

use serde_json::Value;

use crate::{
    objects::{
        self, MountedFile, containers, find_file, flag, labels, list, mounted_file, namespace, text, title,
        workloads,
    },
    permissions::Account,
    yaml::parse,
};

/// The container and the workload that creates its pods.
#[derive(Clone, Copy, Debug)]
pub struct Component<'objects> {
    /// The object that creates the pods.
    pub workload: &'objects Value,
    /// The pod template.
    pub template: &'objects Value,
    /// The container.
    pub container: &'objects Value,
}

impl<'objects> Component<'objects> {
    /// Finds the first container that has a flag.
    pub(crate) fn with_flag(objects: &'objects [Value], name: &str) -> Option<Self> {
        workloads(objects).find_map(|(workload, template)| {
            let container = containers(template).find(|container| flag(container, name).is_some())?;
            Some(Self {
                workload,
                template,
                container,
            })
        })
    }

    /// Finds the first container that has the flag `name`, and its configuration: the file that `file_flag` names. If the objects
    /// do not contain this file, the configuration is the first file of a ConfigMap that `is_config` accepts.
    ///
    /// # Errors
    /// If the ConfigMap that is mounted at the path does not have the file.
    pub(crate) fn with_config(
        objects: &'objects [Value],
        name: &str,
        file_flag: &str,
        is_config: impl Fn(&Value) -> bool,
    ) -> Result<(Option<Self>, Option<Value>), String> {
        let component = Self::with_flag(objects, name);
        let mounted = match &component {
            Some(component) => component.file_of(objects, file_flag)?,
            None => None,
        };
        Ok((component, mounted.or_else(|| find_file(objects, is_config))))
    }

    /// Returns the value of a flag of the container.
    #[must_use]
    pub fn flag(&self, name: &str) -> Option<&'objects str> {
        flag(self.container, name)
    }

    /// Reads the YAML file that a flag names, from the ConfigMap mounted at its path. Returns `None` if the ConfigMap is not
    /// among the objects.
    fn file_of(&self, objects: &[Value], name: &str) -> Result<Option<Value>, String> {
        let of = title(self.workload);
        let Some(path) = self.flag(name) else {
            return Ok(None);
        };
        match mounted_file(
            objects,
            namespace(self.workload),
            self.template,
            self.container,
            path,
        ) {
            MountedFile::Elsewhere => Ok(None),
            MountedFile::Missing => Err(format!("{of} has no file {path}")),
            MountedFile::Text(file) => {
                let mut documents = parse(file).map_err(|error| format!("{path}: {error}"))?;
                documents
                    .pop()
                    .map(Some)
                    .ok_or_else(|| format!("{path} is empty"))
            }
        }
    }

    /// Returns the value of a flag of the container, with its `$(NAME)` expanded.
    pub(crate) fn expanded_flag(&self, name: &str) -> Option<String> {
        let variables = objects::expanded_environment(self.container);
        Some(objects::expand(&variables, self.flag(name)?))
    }

    /// Returns the content of the file `namespace` beside the token: the namespace of the pod, unless a volume replaces the
    /// automatic one.
    pub(crate) fn own_namespace(&self) -> &'objects str {
        const DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
        let mut mounts = list(self.container, "/volumeMounts").iter();
        let mount = mounts.find(|mount| text(mount, "/mountPath").trim_end_matches('/') == DIRECTORY);
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
            name: if account.is_empty() { "default" } else { account },
        }
    }

    /// Checks that a Service selects the pods.
    pub(crate) fn check_selected_by(&self, service: &Value) -> Result<(), String> {
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
