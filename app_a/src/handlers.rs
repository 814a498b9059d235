//! The handlers of `app_a`, one for each route.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::response::Response;
use serde::Serialize;
use service::reply::Format;

use crate::client::Verdict;
use crate::error::Error;
use crate::state::App;

/// Maximum length of a token in bytes. A longer token is rejected without a call. The form of a token of this length stays
/// below the body limit of `app_b` even if every character is escaped, so `app_b` never responds 413.
const MAX_TOKEN_BYTES: usize = 4096;

#[derive(Serialize)]
struct Greeting {
    message: &'static str,
}

/// `GET /hello`
pub(crate) async fn hello(format: Format) -> Response {
    format.reply(
        "Hello there",
        &Greeting {
            message: "Hello there",
        },
    )
}

#[derive(Serialize)]
struct Jobs {
    jobs: [Job; 1],
}

#[derive(Serialize)]
struct Job {
    title: &'static str,
    description: &'static str,
}

/// `POST /jobs` and `PUT /jobs`, for users whose token `app_b` knows.
pub(crate) async fn jobs(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Error> {
    let unauthorized = Error::Unauthorized {
        legacy_status: app.legacy_status,
    };
    let Some(token) = token(&headers) else {
        return Err(unauthorized);
    };
    match app.app_b.authenticate(token, &headers).await? {
        Verdict::Known => {
            let jobs = Jobs {
                jobs: [Job {
                    title: "Devops",
                    description: "Awesome",
                }],
            };
            Ok(Format::preferred(&headers).reply("Jobs:\nTitle: Devops\nDescription: Awesome\n", &jobs))
        }
        Verdict::Unknown => Err(unauthorized),
    }
}

/// Returns the token of the Authorization header. The value is the token, or `Bearer` and the token (RFC 6750; the scheme
/// is case-insensitive). `None` if the header is missing, repeated, empty, too long, or not UTF-8.
fn token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (value, None) = (values.next()?, values.next()) else {
        return None;
    };
    let value = std::str::from_utf8(value.as_bytes()).ok()?.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        _ => value,
    };
    (1..=MAX_TOKEN_BYTES).contains(&token.len()).then_some(token)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_token_is_read_with_and_without_bearer() {
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"mytoken", Some("mytoken")),
            (b"Bearer mytoken", Some("mytoken")),
            (b"bEARER   mytoken", Some("mytoken")),
            (b"Bearermytoken", Some("Bearermytoken")),
            (b"Basic mytoken", Some("Basic mytoken")),
            (b"Bearer", Some("Bearer")),
            (b"", None),
            (b"  ", None),
            (b"\xff\xfe", None),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            assert_eq!(token(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn a_token_above_the_limit_is_none() {
        for (bytes, is_token) in [(MAX_TOKEN_BYTES, true), (MAX_TOKEN_BYTES + 1, false)] {
            let mut headers = HeaderMap::new();
            let value = format!("Bearer {}", "x".repeat(bytes));
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            assert_eq!(token(&headers).is_some(), is_token, "{bytes} bytes");
        }
    }

    #[test]
    fn a_repeated_header_is_none() {
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, HeaderValue::from_static("mytoken"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("other"));
        assert_eq!(token(&headers), None);
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
