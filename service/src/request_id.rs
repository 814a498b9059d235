//! The request id: the client's if it is valid, or else a new one. It is a header of the request, so that handlers can
//! forward it, and a header of the response.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that contains the request id, in requests and responses.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is accepted from a client, in bytes. The id is a part of every log line of the request.
const MAX_BYTES: usize = 128;

/// Returns the id of a request. The middleware ensures that every request has one.
#[must_use]
pub fn of(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(X_REQUEST_ID)
}

/// Returns the client's id if it is valid. Otherwise replaces it with a new one.
pub(crate) fn ensure(headers: &mut HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(id) if is_valid(id.as_bytes()) => id.clone(),
        _ => {
            let id = generate();
            headers.insert(X_REQUEST_ID, id.clone());
            id
        }
    }
}

/// Accepts only characters that need no escaping in a header, a log line, a URL or a shell.
fn is_valid(id: &[u8]) -> bool {
    (1..=MAX_BYTES).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
}

/// Returns 128 random bits in hexadecimal. The id is not a secret, so the generator need not be cryptographic.
fn generate() -> HeaderValue {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut id = [0_u8; 32];
    for (pair, byte) in id.chunks_exact_mut(2).zip(fastrand::u128(..).to_be_bytes()) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    HeaderValue::from_bytes(&id).expect("hexadecimal digits are valid in a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_id_is_kept() {
        for id in [
            "a",
            "6f1ed002ab5595859014ebf0951522d9",
            "req-1.2_3:4+5/6=",
            &"x".repeat(128),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
            assert_eq!(ensure(&mut headers), id);
        }
    }

    #[test]
    fn an_invalid_id_is_replaced() {
        for id in ["", " ", "a b", "a\tb", "<script>", "\"", &"x".repeat(129)] {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
            let generated = ensure(&mut headers);
            assert_eq!(generated.len(), 32, "{id:?}");
            assert_eq!(headers.get(X_REQUEST_ID), Some(&generated));
        }
    }

    #[test]
    fn two_generated_ids_differ() {
        assert_ne!(generate(), generate());
    }
}
