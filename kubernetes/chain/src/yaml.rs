//! YAML streams.

use serde_json::Value;

/// Parses the documents of a YAML or JSON stream.
///
/// # Errors
/// If the text is not YAML, or if a mapping has a duplicate key. The message names the line.
pub fn parse(yaml: &str) -> Result<Vec<Value>, String> {
    serde_saphyr::from_multiple(yaml).map_err(|error| error.to_string())
}
