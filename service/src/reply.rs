//! Response bodies by content negotiation: the text of the original services by default, JSON if `Accept` prefers it.
//!
//! The middleware alone writes the bodies of errors. It takes them from the extensions of the response, [`Message`] and
//! [`Cause`].

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::body::{Body, HttpBody as _};
use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use serde::Serialize;

/// The content type of text in the original services.
const TEXT: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The format of a response body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text of the original services.
    Text,
    /// JSON, if the client prefers it.
    Json,
}

impl Format {
    /// Returns the format that the client prefers by its `Accept` header (RFC 9110, 12.5.1).
    ///
    /// The type of higher quality wins, then the type that the header names more precisely. The default is text.
    #[must_use]
    pub fn preferred(headers: &HeaderMap) -> Self {
        if !headers.contains_key(ACCEPT) {
            return Self::Text;
        }
        if preference(headers, "application", "json") > preference(headers, "text", "html") {
            Self::Json
        } else {
            Self::Text
        }
    }

    /// Returns a response with `text` or `json` as its body.
    pub fn reply(self, text: impl Into<Body>, json: &impl Serialize) -> Response {
        self.render(text.into(), json)
    }

    fn render(self, text: Body, json: &impl Serialize) -> Response {
        let (content_type, body) = match self {
            Self::Text => (TEXT, text),
            Self::Json => {
                let json = serde_json::to_vec(json).expect("the fields of a reply serialise");
                (JSON, json.into())
            }
        };
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(VARY, HeaderValue::from_static("accept"));
        response
    }
}

impl<S: Sync> FromRequestParts<S> for Format {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::preferred(&parts.headers))
    }
}

/// Returns the quality of a media type in thousandths, and the precision of the media range that it comes from.
fn preference(headers: &HeaderMap, kind: &str, subtype: &str) -> (u16, u8) {
    let ranges = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut best = (0_u8, 0_u16);
    for range in ranges {
        let mut parts = range.split(';').map(str::trim);
        let Some((range_kind, range_subtype)) = parts.next().and_then(|range| range.split_once('/')) else {
            continue;
        };
        let precision = match (range_kind, range_subtype) {
            ("*", "*") => 1,
            (_, "*") if range_kind.eq_ignore_ascii_case(kind) => 2,
            _ if range_kind.eq_ignore_ascii_case(kind) && range_subtype.eq_ignore_ascii_case(subtype) => 3,
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = quality.map_or(1000, thousandths);
        // The most precise range decides, whatever its quality (RFC 9110, 12.5.1).
        best = best.max((precision, quality));
    }
    let (precision, quality) = best;
    if quality == 0 {
        (0, 0)
    } else {
        (quality, precision)
    }
}

fn thousandths(quality: &str) -> u16 {
    let quality: f32 = quality.trim().parse().unwrap_or(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is clamped to 0..=1000"
    )]
    let thousandths = (quality.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

/// Extension of a response: the message that becomes its body, as text or as `{"error": …}`. A response with status 400
/// or above that has no message gets the default message of its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message(pub &'static str);

impl IntoResponseParts for Message {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

impl IntoResponse for Message {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

impl IntoResponseParts for Cause {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// Extension of a response: the cause of a failure. It goes to the log only, and the client sees only the [`Message`].
#[derive(Debug, Clone)]
pub struct Cause(Arc<str>);

impl Cause {
    /// Joins the error and all its sources to one text.
    pub fn new(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            let detail = error.to_string();
            // Some libraries repeat the text of the source in their own.
            if !text.ends_with(&detail) {
                text.push_str(": ");
                text.push_str(&detail);
            }
            source = error.source();
        }
        Self(text.into())
    }
}

impl Cause {
    /// Returns the text of the error and its sources.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl From<&'static str> for Cause {
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[derive(Serialize)]
struct ErrorBody {
    error: &'static str,
}

/// Returns an error response with its message as the body. A response to HEAD gets only the headers of that body. Other
/// responses stay as they are.
pub(crate) fn with_error_body(response: Response, format: Format, is_head: bool) -> Response {
    let Some(message) = message(&response) else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    let (head, body) = format
        .render(message.into(), &ErrorBody { error: message })
        .into_parts();
    // The router does the same for its own responses.
    if let Some(length) = body.size_hint().exact() {
        parts.headers.insert(CONTENT_LENGTH, length.into());
    }
    for (name, value) in &head.headers {
        parts.headers.insert(name, value.clone());
    }
    Response::from_parts(parts, if is_head { Body::empty() } else { body })
}

fn message(response: &Response) -> Option<&'static str> {
    let status = response.status();
    match response.extensions().get() {
        Some(Message(message)) => Some(message),
        None if status.as_u16() >= 400 => Some(default_message(status.as_u16())),
        None => None,
    }
}

/// Returns the message for a status that the middleware or the router responds with.
fn default_message(status: u16) -> &'static str {
    match status {
        400 => "bad request",
        404 => "not found",
        405 => "method not allowed",
        408 => "the request took too long to arrive",
        413 => "the request's body is too large",
        500 => "internal error",
        502 => "bad gateway",
        503 => "overloaded, try again",
        504 => "gateway timeout",
        _ => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_header_selects_the_format() {
        use Format::{Json, Text};
        let cases = [
            ("application/json", Json),
            ("APPLICATION/JSON", Json),
            ("application/*", Json),
            ("text/html", Text),
            ("*/*", Text),
            ("", Text),
            ("image/png", Text),
            ("application/json;q=0", Text),
            ("application/json;q=0, */*", Text),
            ("text/html, application/json", Text),
            ("text/html;q=0.8, application/json", Json),
            ("text/html, application/json;q=0.9", Text),
            ("application/json, text/plain, */*", Json),
            ("application/json; charset=utf-8; q=0.5, text/*;q=0.4", Json),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Text,
            ),
            ("*/*;q=0.1, application/json;q=0.05", Text),
            ("application/json;q=nonsense", Text),
            ("gibberish", Text),
        ];
        for (accept, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(Format::preferred(&headers), expected, "{accept:?}");
        }
        assert_eq!(Format::preferred(&HeaderMap::new()), Text, "no header");
    }
}
