//! What differs between two lists of objects.

use manifests::objects::title;
use serde_json::Value;
use std::collections::BTreeSet;

/// Returns each value that differs: the title of its object, a space, and its JSON pointer. Panics if the lists have different
/// objects.
pub(crate) fn differences(one: &[Value], other: &[Value]) -> BTreeSet<String> {
    let titles = |objects: &[Value]| objects.iter().map(title).collect::<Vec<_>>();
    assert_eq!(titles(one), titles(other));
    let mut found = BTreeSet::new();
    for (one, other) in one.iter().zip(other) {
        collect(one, other, &format!("{} ", title(one)), &mut found);
    }
    found
}

fn collect(one: &Value, other: &Value, at: &str, found: &mut BTreeSet<String>) {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<_> = one.keys().chain(other.keys()).collect();
            for key in keys {
                let value =
                    |fields: &serde_json::Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                let at = format!("{at}/{}", key.replace('/', "~1"));
                collect(&value(one), &value(other), &at, found);
            }
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            for (index, (one, other)) in one.iter().zip(other).enumerate() {
                collect(one, other, &format!("{at}/{index}"), found);
            }
        }
        (one, other) if one == other => {}
        _ => {
            found.insert(at.to_owned());
        }
    }
}
