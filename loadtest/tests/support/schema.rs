//! Validates reports against the JSON Schemas in docs/schema.

use std::{fs, path::Path};

use serde_json::Value;

/// Parses a report and asserts that it matches its schema in docs/schema.
pub(crate) fn report(json: &[u8]) -> Value {
    let report: Value = serde_json::from_slice(json)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(json)));
    let format = report["schema"].as_str().unwrap();
    let kind = format.split(['.', '/']).nth(1).unwrap();
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let path = folders
        .find_map(|folder| fs::canonicalize(folder.join(format!("docs/schema/{kind}.json"))).ok())
        .unwrap();
    let mut schema: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    forbid_undeclared_fields(&mut schema);
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&report)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{format}: {errors:#?}");
    report
}

/// Makes fields that the schema does not declare an error.
fn forbid_undeclared_fields(schema: &mut Value) {
    match schema {
        Value::Object(parts) => {
            parts.values_mut().for_each(forbid_undeclared_fields);
            if parts.get("properties").is_some_and(Value::is_object) {
                parts.insert("additionalProperties".to_owned(), false.into());
            }
        }
        Value::Array(parts) => parts.iter_mut().for_each(forbid_undeclared_fields),
        _ => {}
    }
}
