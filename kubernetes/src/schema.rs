//! Validates objects against the `OpenAPI` document of the pinned Kubernetes and against definitions of custom resources, as
//! strictly as `kubectl apply --validate=strict` does, without a cluster. The rules of a definition (CEL) are not evaluated.

use crate::{findings::Finding, objects};
use anyhow::{Context, Result};
use jsonschema::Validator;
use serde_json::{Value, json};
use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};

/// The format of quantities that `resource.Quantity` parses.
const QUANTITY: &str = r"^[+-]?(\d+(\.\d*)?|\.\d+)(n|u|m|k|[MGTPE]|[KMGTPE]i|[eE][+-]?\d+)?$";

/// The start of a reference to a definition.
const DEFINITIONS: &str = "#/definitions/";

/// The schemas of all kinds.
pub struct Schema {
    definitions: Value,
    /// The name of the definition, by apiVersion and kind.
    kinds: BTreeMap<(String, String), String>,
    /// The validators of the checks so far, by the name of the definition. It takes longer to create one than to use it.
    validators: RefCell<BTreeMap<String, Validator>>,
}

impl Schema {
    /// Reads an `OpenAPI` document.
    ///
    /// # Errors
    /// If the file cannot be read or has no definitions.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut document: Value = serde_json::from_str(&text)?;
        let definitions = document.get_mut("definitions").context("no definitions")?.take();
        Self::from_definitions(definitions).context("the definitions are not a mapping")
    }

    /// Adds the kinds that a `CustomResourceDefinition` defines.
    ///
    /// # Errors
    /// If the document is not a `CustomResourceDefinition`.
    pub fn define(&mut self, definition: &Value) -> Result<()> {
        let text = |pointer| objects::text(definition, pointer);
        let (group, kind) = (text("/spec/group"), text("/spec/names/kind"));
        let versions = objects::list(definition, "/spec/versions");
        anyhow::ensure!(
            !group.is_empty() && !kind.is_empty() && !versions.is_empty(),
            "{} is not a CustomResourceDefinition",
            objects::title(definition)
        );
        for version in versions {
            let api_version = format!("{group}/{}", objects::text(version, "/name"));
            let mut schema = version
                .pointer("/schema/openAPIV3Schema")
                .with_context(|| format!("{api_version} {kind} has no schema"))?
                .clone();
            forbid_unknown_nested_fields(&mut schema);
            // The definition says only that it is an object. The API server knows its fields.
            schema["properties"]["metadata"] =
                json!({ "$ref": reference("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") });
            let name = format!("{api_version}/{kind}").replace('/', ".");
            self.definitions[&name] = schema;
            self.kinds.insert((api_version, kind.to_owned()), name);
            self.validators.get_mut().clear();
        }
        Ok(())
    }

    fn from_definitions(mut definitions: Value) -> Option<Self> {
        let mut kinds = BTreeMap::new();
        for (name, definition) in definitions.as_object_mut()? {
            for kind in objects::list(definition, "/x-kubernetes-group-version-kind") {
                let (group, version) = (objects::text(kind, "/group"), objects::text(kind, "/version"));
                let api_version = if group.is_empty() {
                    version.to_owned()
                } else {
                    format!("{group}/{version}")
                };
                kinds.insert(
                    (api_version, objects::text(kind, "/kind").to_owned()),
                    name.clone(),
                );
            }
            match name.as_str() {
                "io.k8s.apimachinery.pkg.util.intstr.IntOrString" => {
                    *definition = json!({ "type": ["integer", "string"] });
                }
                "io.k8s.apimachinery.pkg.api.resource.Quantity" => {
                    *definition = json!({
                        "oneOf": [{ "type": "number" }, { "type": "string", "pattern": QUANTITY }]
                    });
                }
                _ => forbid_unknown_fields(definition),
            }
        }
        Some(Self {
            definitions,
            kinds,
            validators: RefCell::default(),
        })
    }

    /// Finds the faults for which the API server would reject an object or warn.
    ///
    /// # Errors
    /// If the document is not a valid schema.
    pub fn check(&self, objects: &[Value]) -> Result<Vec<Finding>> {
        let mut findings = Vec::new();
        let mut validators = self.validators.borrow_mut();
        for object in objects {
            let kind = (
                objects::text(object, "/apiVersion").to_owned(),
                objects::kind(object).to_owned(),
            );
            let Some(name) = self.kinds.get(&kind) else {
                findings.push(Finding::new(
                    object,
                    format!("the pinned Kubernetes does not have {} {}", kind.0, kind.1),
                ));
                continue;
            };
            if !validators.contains_key(name.as_str()) {
                validators.insert(name.clone(), self.validator(name)?);
            }
            let errors = validators[name.as_str()].iter_errors(object);
            findings.extend(
                errors.map(|error| Finding::new(object, format!("at {}: {error}", error.instance_path()))),
            );
        }
        Ok(findings)
    }

    fn validator(&self, name: &str) -> Result<Validator> {
        let schema = json!({ "$ref": reference(name), "definitions": self.reachable(name) });
        Ok(jsonschema::draft4::new(&schema)?)
    }

    /// Returns a definition and those that it refers to, directly or through others. A validator reads all definitions that it
    /// gets, and Kubernetes has a thousand.
    fn reachable(&self, name: &str) -> BTreeMap<String, &Value> {
        let mut found = BTreeMap::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            // A missing definition is an error of the validator.
            if let Some(definition) = self.definitions.get(&name)
                && !found.contains_key(&name)
            {
                add_references(definition, &mut open);
                found.insert(name, definition);
            }
        }
        found
    }
}

/// Returns the value of `$ref` for a definition.
fn reference(name: &str) -> String {
    format!("{DEFINITIONS}{name}")
}

/// Adds the names of the definitions that a schema refers to.
fn add_references(schema: &Value, names: &mut Vec<String>) {
    match schema {
        Value::Object(fields) => {
            let target = fields.get("$ref").and_then(Value::as_str);
            names.extend(target.and_then(|target| Some(target.strip_prefix(DEFINITIONS)?.to_owned())));
            fields.values().for_each(|value| add_references(value, names));
        }
        Value::Array(items) => items.iter().for_each(|value| add_references(value, names)),
        _ => {}
    }
}

/// Forbids fields that the document does not list, as the strict validation of the API server does.
fn forbid_unknown_fields(definition: &mut Value) {
    if let Some(definition) = definition.as_object_mut()
        && definition.contains_key("properties")
    {
        definition.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
}

/// The same at every level. The schemas of custom resources have no references: they contain the schemas of their fields.
fn forbid_unknown_nested_fields(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(forbid_unknown_nested_fields);
            // In `properties`, the names of fields are keys, not keywords.
            let is_schema = fields.get("type").is_some_and(Value::is_string);
            if is_schema && fields.get("x-kubernetes-preserve-unknown-fields") != Some(&Value::Bool(true)) {
                forbid_unknown_fields(schema);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forbid_unknown_nested_fields),
        _ => {}
    }
}
