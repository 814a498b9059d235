//! Queries of the cluster's Prometheus, through the API server.

use anyhow::{Context as _, Result};
use e2e::kubectl;
use serde_json::Value;

/// The characters that the queries of these tests contain and a URL must not.
const ENCODED: [(char, &str); 8] = [
    ('%', "%25"),
    (' ', "%20"),
    ('"', "%22"),
    ('{', "%7B"),
    ('}', "%7D"),
    ('=', "%3D"),
    ('[', "%5B"),
    (']', "%5D"),
];

/// The value of the only sample that an instant query returns.
pub(crate) fn query(query: &str) -> Result<f64> {
    let encoded = ENCODED.iter().fold(query.to_owned(), |text, (plain, encoded)| {
        text.replace(*plain, encoded)
    });
    let path =
        format!("/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query?query={encoded}");
    let response: Value = serde_json::from_str(&kubectl(&["get", "--raw", &path])?)?;
    let value = response["data"]["result"][0]["value"][1]
        .as_str()
        .with_context(|| format!("Prometheus has no sample for {query}"))?;
    Ok(value.parse()?)
}
