//! The request id: taken from the caller if it is sane, made otherwise. It travels as a header on the request, so
//! that handlers pass it on, and comes back on the answer.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header, in both directions.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id accepted from a caller, in bytes. It goes into every log line of the request.
const LONGEST: usize = 128;

/// The id that the request carries; the middleware has put one on every request.
#[must_use]
pub fn of(headers: &HeaderMap) -> Option<&HeaderValue> {
    headers.get(X_REQUEST_ID)
}

/// The caller's id if it is sane, else a new one, which then replaces it.
pub(crate) fn ensure(headers: &mut HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(id) if is_sane(id.as_bytes()) => id.clone(),
        _ => {
            let id = generate();
            headers.insert(X_REQUEST_ID, id.clone());
            id
        }
    }
}

/// Only characters that need no escaping in a header, a log line, a URL or a shell.
fn is_sane(id: &[u8]) -> bool {
    (1..=LONGEST).contains(&id.len())
        && id
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte))
}

/// 128 random bits in hexadecimal. They name a request, they guard nothing.
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
    fn a_sane_id_is_kept() {
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
    fn anything_else_is_replaced() {
        for id in ["", " ", "a b", "a\tb", "<script>", "\"", &"x".repeat(129)] {
            let mut headers = HeaderMap::new();
            headers.insert(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
            let made = ensure(&mut headers);
            assert_eq!(made.len(), 32, "{id:?}");
            assert_eq!(headers.get(X_REQUEST_ID), Some(&made));
        }
    }

    #[test]
    fn two_made_ids_differ() {
        assert_ne!(generate(), generate());
    }
}
