//! The errors of the handlers, and the response to each.

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use service::reply::{Cause, Message};

use crate::store;

/// The errors of the handlers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The request carries no known token.
    #[error("refused: {reason:?}")]
    Refused {
        /// The reason.
        reason: Refusal,
        /// Respond 200, as the original does.
        legacy_status: bool,
    },
    /// The body exceeds the limit.
    #[error("the body is too large")]
    TooLarge,
    /// The lookup of the user failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Reasons to refuse a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The body is not a form.
    NotAForm,
    /// The form has no token.
    NoToken,
    /// No user has the token.
    UnknownToken,
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        match &self {
            Self::Refused {
                legacy_status: true, ..
            } => Message("fail").into_response(),
            Self::Refused { reason, .. } => reason.into_response(),
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
            Self::Store(error @ store::Error::Busy(_)) => {
                let later = [(RETRY_AFTER, HeaderValue::from_static("1"))];
                (StatusCode::SERVICE_UNAVAILABLE, later, Cause::new(error), ()).into_response()
            }
            Self::Store(error) => (StatusCode::INTERNAL_SERVER_ERROR, Cause::new(error), ()).into_response(),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let fail = Message("fail");
        match self {
            Self::NotAForm => (StatusCode::UNSUPPORTED_MEDIA_TYPE, fail, ()).into_response(),
            Self::NoToken => (StatusCode::BAD_REQUEST, fail, ()).into_response(),
            Self::UnknownToken => {
                let challenge = [(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))];
                (StatusCode::UNAUTHORIZED, challenge, fail, ()).into_response()
            }
        }
    }
}
