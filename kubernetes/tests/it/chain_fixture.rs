//! A metrics chain for mutations: the `/metrics` page of a binary, and the objects of the local overlay.

use manifests::objects;
use serde_json::Value;

/// The `/metrics` page of a binary, and the objects.
pub(crate) struct Chain {
    pub(crate) text: String,
    pub(crate) objects: Vec<Value>,
}

impl Chain {
    pub(crate) fn object(&mut self, kind: &str, name: &str) -> &mut Value {
        let mut objects = self.objects.iter_mut();
        let found = objects.find(|object| {
            // The names of generated ConfigMaps end in a hash.
            objects::kind(object) == kind
                && (objects::name(object) == name || is_generated(objects::name(object), name))
        });
        found.unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    pub(crate) fn set(&mut self, kind: &str, name: &str, pointer: &str, value: Value) {
        *self
            .object(kind, name)
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("{name} has no {pointer}")) = value;
    }

    pub(crate) fn remove(&mut self, kind: &str, name: &str) {
        let before = self.objects.len();
        self.objects
            .retain(|object| objects::kind(object) != kind || objects::name(object) != name);
        assert_eq!(self.objects.len() + 1, before, "no {kind} {name}");
    }

    pub(crate) fn in_binary(&mut self, from: &str, to: &str) {
        assert!(self.text.contains(from), "the page does not contain {from}");
        self.text = self.text.replace(from, to);
    }

    pub(crate) fn in_file(&mut self, config_map: &str, from: &str, to: &str) {
        let files = self.object("ConfigMap", config_map)["data"]
            .as_object_mut()
            .expect("files");
        let file = files.values_mut().next().expect("a file");
        let text = file.as_str().expect("text");
        assert!(text.contains(from), "{config_map} does not contain {from}");
        *file = Value::from(text.replace(from, to));
    }

    pub(crate) fn in_arguments(&mut self, deployment: &str, from: &str, to: &str) {
        let pointer = "/spec/template/spec/containers/0/args";
        let arguments = self
            .object("Deployment", deployment)
            .pointer_mut(pointer)
            .expect("arguments");
        let text = arguments.to_string();
        assert!(
            text.contains(from),
            "the arguments of {deployment} do not contain {from}"
        );
        *arguments = serde_json::from_str(&text.replace(from, to)).expect("JSON");
    }
}

fn is_generated(name: &str, stem: &str) -> bool {
    name.strip_prefix(stem)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|hash| !hash.contains('-'))
}
