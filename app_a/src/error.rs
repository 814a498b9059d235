//! Why a request was not served, and what the client learns of it.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use service::reply::{Cause, Message};

use crate::client;

/// Everything that a handler can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The token is missing or not one that `app_b` knows.
    #[error("not authorised")]
    Unauthorized {
        /// Answer 200, as the original does.
        legacy_status: bool,
    },
    /// `app_b` gave no answer that can be used.
    #[error(transparent)]
    AppB(#[from] client::Error),
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match &self {
            Self::Unauthorized { legacy_status: true } => Message("fail").into_response(),
            Self::Unauthorized { legacy_status: false } => {
                let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
                (StatusCode::UNAUTHORIZED, challenge, Message("fail"), ()).into_response()
            }
            Self::AppB(error @ client::Error::Shed) => {
                let later = [(RETRY_AFTER, HeaderValue::from_static("1"))];
                (StatusCode::SERVICE_UNAVAILABLE, later, Cause::new(error), ()).into_response()
            }
            Self::AppB(error @ client::Error::Deadline) => {
                (StatusCode::GATEWAY_TIMEOUT, Cause::new(error), ()).into_response()
            }
            Self::AppB(error) => (StatusCode::BAD_GATEWAY, Cause::new(error), ()).into_response(),
        }
    }
}
