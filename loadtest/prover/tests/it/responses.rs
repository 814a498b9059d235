//! The parts of a response of the fake API server.

use http::StatusCode;
use serde_json::{Value, json};

pub(crate) fn event_list(events: &[Value]) -> Value {
    json!({"apiVersion": "events.k8s.io/v1", "kind": "EventList", "metadata": {}, "items": events})
}

pub(crate) fn list(version: &str, kind: &str, items: impl IntoIterator<Item = Value>) -> Value {
    json!({"apiVersion": version, "kind": kind, "metadata": {}, "items": Vec::from_iter(items)})
}

/// Encodes a body: a string as plain text, any other value as JSON.
pub(crate) fn body(value: &Value) -> Vec<u8> {
    match value {
        Value::String(text) => text.clone().into_bytes(),
        other => serde_json::to_vec(other).unwrap(),
    }
}

pub(crate) fn ok(value: Value) -> (StatusCode, Value) {
    (StatusCode::OK, value)
}

pub(crate) fn failure(code: StatusCode, message: &str) -> (StatusCode, Value) {
    let reason = if code == StatusCode::NOT_FOUND {
        "NotFound"
    } else {
        "ServiceUnavailable"
    };
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code.as_u16()}),
    )
}
