//! What differs between two lists of objects.

use manifests::objects::title;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Returns each value that differs: the title of its object, a space, and its JSON pointer. In lists of different lengths, the names of the
/// items stand for their numbers, if they have names. Panics if the lists have different
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

/// The items of a list by their names or keys, if each has one of its own.
fn by_name(items: &[Value]) -> Option<BTreeMap<&str, &Value>> {
    let named: Option<BTreeMap<_, _>> = items
        .iter()
        .map(|item| {
            let name = item.get("name").or_else(|| item.get("key"))?.as_str()?;
            Some((name, item))
        })
        .collect();
    named.filter(|named| named.len() == items.len())
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
        (Value::Array(one), Value::Array(other)) => match (by_name(one), by_name(other)) {
            (Some(one), Some(other)) => {
                let names: BTreeSet<_> = one.keys().chain(other.keys()).collect();
                for name in names {
                    let value = |items: &BTreeMap<&str, &Value>| items.get(*name).copied().cloned();
                    let (one, other) = (value(&one), value(&other));
                    let at = format!("{at}/{name}");
                    collect(&one.unwrap_or_default(), &other.unwrap_or_default(), &at, found);
                }
            }
            _ => {
                found.insert(at.to_owned());
            }
        },
        _ => {
            found.insert(at.to_owned());
        }
    }
}
