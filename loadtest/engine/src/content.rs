//! What a report says about the headers and the body of the requests. It does not contain their values, which can be secret.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The headers and the body of every request, without their values.
///
/// A fingerprint is the first 32 bits of a SHA-256 hash, in hexadecimal digits. Different fingerprints mean different
/// values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// The names of the headers that the user set, in order. `host` is not one of them, because it names the server.
    pub headers: Vec<String>,
    /// The fingerprint of the values of these headers; null without headers.
    pub header_fingerprint: Option<String>,
    /// The number of bytes in the body.
    pub body_bytes: u64,
    /// The fingerprint of the body; null without a body.
    pub body_fingerprint: Option<String>,
}

impl Content {
    pub(crate) fn new(headers: &[(HeaderName, HeaderValue)], body: &Bytes) -> Self {
        let compared = headers.iter().filter(|(name, _)| name != header::HOST);
        let values = compared.clone().map(|(_, value)| value.as_bytes());
        Self {
            headers: compared.clone().map(|(name, _)| name.to_string()).collect(),
            header_fingerprint: fingerprint(values),
            body_bytes: body.len() as u64,
            body_fingerprint: fingerprint((!body.is_empty()).then_some(&body[..]).into_iter()),
        }
    }
}

/// Returns the fingerprint of the parts and their lengths; `None` without parts.
fn fingerprint<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut parts = parts.peekable();
    parts.peek()?;
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let first = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]);
    Some(format!("{first:08x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_header;

    #[test]
    fn equal_fingerprints_mean_equal_values_and_the_host_does_not_count() {
        let content = |headers: &[&str], body: &'static str| {
            let headers: Vec<_> = headers.iter().map(|text| parse_header(text).unwrap()).collect();
            Content::new(&headers, &Bytes::from_static(body.as_bytes()))
        };
        let one = content(&["Authorization: mytoken", "Host: a"], "x");
        assert_eq!(one, content(&["authorization: mytoken", "Host: b"], "x"));
        assert_eq!(one.headers, ["authorization"]);
        let other = content(&["authorization: other"], "x");
        assert_ne!(one.header_fingerprint, other.header_fingerprint);
        assert_eq!(one.body_fingerprint, other.body_fingerprint);
        assert_ne!(one.body_fingerprint, content(&[], "y").body_fingerprint);
        // The same bytes, split at another place, are different values.
        assert_ne!(
            content(&["a: xy", "b: z"], "").header_fingerprint,
            content(&["a: x", "b: yz"], "").header_fingerprint
        );
        assert_eq!(content(&[], ""), Content::default());
    }
}
