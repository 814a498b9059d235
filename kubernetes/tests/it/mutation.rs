//! Mutations of objects, one field at a time.

use crate::rendered::local;
use manifests::{
    findings::{Finding, list},
    objects,
};
use serde_json::Value;

/// A mutation of one field of an object. The value `null` removes the field.
pub(crate) struct Mutation {
    kind: &'static str,
    name: &'static str,
    pointer: &'static str,
    value: Value,
    /// A part of the expected finding.
    finding: &'static str,
}

/// Creates a [`Mutation`].
pub(crate) fn mutation(
    kind: &'static str,
    name: &'static str,
    pointer: &'static str,
    value: Value,
    finding: &'static str,
) -> Mutation {
    Mutation {
        kind,
        name,
        pointer,
        value,
        finding,
    }
}

impl Mutation {
    fn apply(&self, objects: &mut [Value]) {
        let object = objects
            .iter_mut()
            .find(|object| objects::kind(object) == self.kind && objects::name(object) == self.name)
            .unwrap_or_else(|| panic!("no {} {}", self.kind, self.name));
        let (parent, key) = self.pointer.rsplit_once('/').expect("a pointer");
        let key = key.replace("~1", "/");
        match object
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("{} has no {parent}", self.name))
        {
            Value::Object(fields) if self.value.is_null() => {
                fields
                    .remove(&key)
                    .unwrap_or_else(|| panic!("{} has no {}", self.name, self.pointer));
            }
            Value::Object(fields) => {
                fields.insert(key, self.value.clone());
            }
            Value::Array(items) => items[key.parse::<usize>().expect("an index")] = self.value.clone(),
            other => panic!("{} of {} is {other}", self.pointer, self.name),
        }
    }
}

/// Applies each mutation alone to the local overlay, and expects its finding.
pub(crate) fn expect_findings(check: impl Fn(&[Value]) -> Vec<Finding>, mutations: &[Mutation]) {
    expect_findings_in(&local(), check, mutations);
}

/// Applies each mutation alone to `objects`, and expects its finding.
pub(crate) fn expect_findings_in(
    objects: &[Value],
    check: impl Fn(&[Value]) -> Vec<Finding>,
    mutations: &[Mutation],
) {
    for case in mutations {
        let mut objects = objects.to_vec();
        case.apply(&mut objects);
        let findings = check(&objects);
        let found = findings
            .iter()
            .any(|finding| finding.to_string().contains(case.finding));
        let what = format!("{} {} with {} {}", case.kind, case.name, case.pointer, case.value);
        assert!(
            found,
            "{what}: expected {:?}, found:{}",
            case.finding,
            list(&findings)
        );
    }
}
