//! Objects, broken one field at a time.

use crate::rendered::local;
use manifests::{
    findings::{Finding, list},
    objects,
};
use serde_json::Value;

/// A way to break a field: the object, where in it, and the value to put there (`null` removes the field).
pub(crate) struct Break {
    kind: &'static str,
    name: &'static str,
    pointer: &'static str,
    value: Value,
    /// A part of what is to be said about it.
    said: &'static str,
}

/// See [`Break`].
pub(crate) fn broken(
    kind: &'static str,
    name: &'static str,
    pointer: &'static str,
    value: Value,
    said: &'static str,
) -> Break {
    Break {
        kind,
        name,
        pointer,
        value,
        said,
    }
}

impl Break {
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

/// Applies each break alone, and fails unless the check then says what is expected.
pub(crate) fn expect_each_is_noticed(check: impl Fn(&[Value]) -> Vec<Finding>, breaks: &[Break]) {
    for case in breaks {
        let mut objects = local();
        case.apply(&mut objects);
        let findings = check(&objects);
        let noticed = findings
            .iter()
            .any(|finding| finding.to_string().contains(case.said));
        let what = format!("{} {} with {} {}", case.kind, case.name, case.pointer, case.value);
        assert!(
            noticed,
            "{what}: expected {:?}, found:{}",
            case.said,
            list(&findings)
        );
    }
}
