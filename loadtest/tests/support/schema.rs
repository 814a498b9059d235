//! Reports are what their schema says, and no more.

use std::{fs, path::Path};

use serde_json::Value;

/// A report as a command wrote it, seen to be what the schema in the docs says of reports of its kind.
pub(crate) fn report(json: &[u8]) -> Value {
    let report: Value = serde_json::from_slice(json)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(json)));
    let form = report["schema"].as_str().unwrap();
    let kind = form.split(['.', '/']).nth(1).unwrap();
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = folders
        .find_map(|folder| fs::canonicalize(folder.join(format!("docs/schema/{kind}.json"))).ok())
        .unwrap();
    let mut schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    close(&mut schema);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let wrong: Vec<String> = validator
        .iter_errors(&report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(wrong.is_empty(), "{form}: {wrong:#?}");
    report
}

/// Allows an object no fields but those that are named, so that one that is not in the schema is found.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(parts) => {
            parts.values_mut().for_each(close);
            if parts.get("properties").is_some_and(Value::is_object) {
                parts.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(close),
        _ => {}
    }
}
