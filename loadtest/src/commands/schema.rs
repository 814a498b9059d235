//! `loadtest schema`: prints the JSON Schema of a report, generated from the report's Rust types.

use anyhow::Context;
use engine::capacity::CapacityReport;
use prover::{prove::ScaleReport, verify::VerifyReport};
use schemars::{Schema, generate::SchemaSettings};

use super::{chain::ChainReport, compare::Comparison, run::RunReport};
use crate::{exit::Exit, options::Report, output};

/// Runs the command.
///
/// # Errors
/// When writing to standard output fails.
pub fn run(report: Report) -> anyhow::Result<Exit> {
    let schema = schema(report);
    let text = serde_json::to_string_pretty(&schema).context("encoding the schema")?;
    output::print(&format!("{text}\n"))?;
    Ok(Exit::Ok)
}

/// Returns the JSON Schema (draft 2020-12) of a report.
#[must_use]
pub fn schema(report: Report) -> Schema {
    let generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    match report {
        Report::Run => generator.into_root_schema_for::<RunReport<'_>>(),
        Report::Scale => generator.into_root_schema_for::<ScaleReport>(),
        Report::Compare => generator.into_root_schema_for::<Comparison>(),
        Report::Capacity => generator.into_root_schema_for::<CapacityReport>(),
        Report::Chain => generator.into_root_schema_for::<ChainReport>(),
        Report::Verify => generator.into_root_schema_for::<VerifyReport>(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::ValueEnum;
    use serde_json::Value;

    use super::*;
    use crate::cli::ReportKind;

    fn schemas() -> impl Iterator<Item = (String, Value)> {
        ReportKind::value_variants().iter().map(|report| {
            let name = report.to_possible_value().unwrap().get_name().to_owned();
            (name, schema((*report).into()).to_value())
        })
    }

    #[test]
    fn the_schemas_in_docs_are_up_to_date() {
        for (name, schema) in schemas() {
            let path = format!("{}/../docs/schema/{name}.json", env!("CARGO_MANIFEST_DIR"));
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
            let documented: Value = serde_json::from_str(&text).unwrap();
            assert!(
                documented == schema,
                "{path} is out of date: cargo run -p loadtest -- schema {name} > docs/schema/{name}.json"
            );
        }
    }

    /// Collects the paths of the fields without a description.
    fn find_undescribed(value: &Value, path: &str, found: &mut Vec<String>) {
        // An enum variant with data is an object with one field; the description is on the object.
        let is_variant = path.contains("/oneOf/") && value.get("description").is_some();
        let fields = value.get("properties").and_then(Value::as_object);
        let fields = fields.filter(|_| !is_variant);
        for (name, field) in fields.into_iter().flatten() {
            if field["description"].as_str().is_none_or(str::is_empty) {
                found.push(format!("{path}.{name}"));
            }
        }
        let parts: Vec<(String, &Value)> = match value {
            Value::Object(parts) => parts.iter().map(|(name, part)| (name.clone(), part)).collect(),
            Value::Array(parts) => (0..)
                .zip(parts)
                .map(|(number, part)| (format!("{number}"), part))
                .collect(),
            _ => Vec::new(),
        };
        for (name, part) in parts {
            find_undescribed(part, &format!("{path}/{name}"), found);
        }
    }

    #[test]
    fn every_field_is_described() {
        for (name, schema) in schemas() {
            let mut found = Vec::new();
            find_undescribed(&schema, &name, &mut found);
            assert!(found.is_empty(), "{found:#?}");
        }
    }
}
