//! The errors of the handlers, and the response to each.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use service::reply::{Cause, Message};

use crate::client;

/// The errors of the handlers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The token is missing, or `app_b` does not know it.
    #[error("not authorised")]
    Unauthorized {
        /// Respond 200, as the original does.
        legacy_status: bool,
    },
    /// The call to `app_b` failed.
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
