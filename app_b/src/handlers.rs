//! The handlers of `app_b`, one for each route.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use service::reply::Format;

use crate::error::{Error, Refusal};
use crate::state::App;
use crate::store::TokenHash;

#[derive(Serialize)]
struct User<'a> {
    user: &'a str,
}

/// `POST /auth` with the form `token=…` returns the name of the user.
pub(crate) async fn auth(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Error> {
    let refused = |reason| Error::Refused {
        reason,
        legacy_status: app.legacy_status,
    };
    if !is_form(&headers) {
        return Err(refused(Refusal::NotAForm));
    }
    let body = match body {
        Ok(body) => body,
        Err(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => return Err(Error::TooLarge),
        // The client disconnected while it sent the body. No one reads this response.
        Err(_) => return Err(refused(Refusal::NoToken)),
    };
    let token = token_hash(&body).ok_or_else(|| refused(Refusal::NoToken))?;
    let user = app
        .users
        .user_by_token(token)
        .await?
        .ok_or_else(|| refused(Refusal::UnknownToken))?;
    Ok(Format::preferred(&headers)
        .reply(user.name.clone(), &User { user: &user.name })
        .into_response())
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Hashes the first `token` of the form. The original uses the first one, too.
fn token_hash(form: &[u8]) -> Option<TokenHash> {
    let (_, token) = form_urlencoded::parse(form).find(|(name, _)| name == "token")?;
    (!token.is_empty()).then(|| TokenHash::of(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn the_first_token_of_a_form_is_used() {
        let expected = Some(TokenHash::of(b"my token"));
        for form in [
            "token=my+token",
            "token=my%20token",
            "other=1&token=my+token&token=second",
        ] {
            assert_eq!(token_hash(form.as_bytes()), expected, "{form}");
        }
        for form in ["", "token", "token=", "TOKEN=x", "=my+token"] {
            assert_eq!(token_hash(form.as_bytes()), None, "{form}");
        }
    }

    #[test]
    fn a_form_is_recognised_by_its_content_type() {
        let cases = [
            ("application/x-www-form-urlencoded", true),
            ("Application/X-WWW-Form-Urlencoded ; charset=utf-8", true),
            ("application/json", false),
            ("multipart/form-data; boundary=x", false),
        ];
        for (kind, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_form(&headers), expected, "{kind}");
        }
        assert!(!is_form(&HeaderMap::new()));
    }
}
