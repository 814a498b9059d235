//! The wire contract: the requests whose responses the README defines, as checks.

use engine::Target;
use http::{Method, StatusCode, header};

use super::requests::{Authorization, Check, ExpectedBody};

/// Returns the targets of a base URL without a path, such as `https://host`.
fn target(base: &str, method: Method, path: &str) -> Result<Target, String> {
    let url = format!("{}{path}", base.trim_end_matches('/'));
    Target::new(method, &url).map_err(|error| error.to_string())
}

/// Returns the check of a status.
///
/// # Errors
/// Returns a message if `base` is no URL.
pub(super) fn status_check(
    base: &str,
    method: Method,
    path: &str,
    status: StatusCode,
) -> Result<Check, String> {
    Ok(Check::new(target(base, method, path)?, status))
}

/// The jobs, as the wire contract defines them.
const JOBS: &str = "Jobs:\nTitle: Devops\nDescription: Awesome\n";

/// The content type of every text of the pair.
const TEXT: &str = "text/html; charset=utf-8";

/// Returns the check of the test `hello-http`. With `follows_redirect`, a load balancer may redirect to HTTPS.
///
/// # Errors
/// Returns a message if `base` is no URL.
pub fn hello(base: &str, follows_redirect: bool) -> Result<Check, String> {
    Ok(Check {
        body: ExpectedBody::Exact("Hello there".to_owned()),
        header: Some((header::CONTENT_TYPE, TEXT)),
        follows_redirect,
        ..Check::new(target(base, Method::GET, "/hello")?, StatusCode::OK)
    })
}

/// Returns the check of `/jobs` with a method and the token.
///
/// # Errors
/// Returns a message if `base` is no URL.
pub fn jobs(base: &str, method: Method) -> Result<Check, String> {
    Ok(Check {
        authorization: Authorization::Token,
        body: ExpectedBody::Exact(JOBS.to_owned()),
        header: Some((header::CONTENT_TYPE, TEXT)),
        ..Check::new(target(base, method, "/jobs")?, StatusCode::OK)
    })
}

/// Returns the checks of the wire contract: the README lists it under "The HTTP interface".
///
/// # Errors
/// Returns a message if `base` is no URL.
pub fn wire_contract(base: &str) -> Result<Vec<Check>, String> {
    let refused = |authorization| -> Result<Check, String> {
        Ok(Check {
            authorization,
            body: ExpectedBody::Exact("fail".to_owned()),
            header: Some((header::WWW_AUTHENTICATE, "Bearer")),
            ..Check::new(target(base, Method::PUT, "/jobs")?, StatusCode::UNAUTHORIZED)
        })
    };
    let hello = hello(base, false)?;
    Ok(vec![
        hello,
        jobs(base, Method::PUT)?,
        jobs(base, Method::POST)?,
        refused(Authorization::WrongToken)?,
        refused(Authorization::None)?,
        status_check(base, Method::GET, "/jobs", StatusCode::METHOD_NOT_ALLOWED)?,
        status_check(base, Method::GET, "/not-a-path", StatusCode::NOT_FOUND)?,
    ])
}

/// Returns the checks of the wire contract of `app_b`.
///
/// # Errors
/// Returns a message if `base` is no URL.
pub fn wire_contract_of_app_b(base: &str) -> Result<Vec<Check>, String> {
    let auth = |authorization, status, body| -> Result<Check, String> {
        Ok(Check {
            authorization,
            body,
            ..Check::new(target(base, Method::POST, "/auth")?, status)
        })
    };
    let fail = ExpectedBody::Exact("fail".to_owned());
    Ok(vec![
        // The body is the name of the user, which differs from token to token.
        Check {
            header: Some((header::CONTENT_TYPE, TEXT)),
            ..auth(Authorization::TokenForm, StatusCode::OK, ExpectedBody::Any)?
        },
        Check {
            header: Some((header::WWW_AUTHENTICATE, "Bearer")),
            ..auth(
                Authorization::WrongTokenForm,
                StatusCode::UNAUTHORIZED,
                fail.clone(),
            )?
        },
        auth(Authorization::None, StatusCode::UNSUPPORTED_MEDIA_TYPE, fail)?,
        status_check(base, Method::GET, "/auth", StatusCode::METHOD_NOT_ALLOWED)?,
        status_check(base, Method::GET, "/not-a-path", StatusCode::NOT_FOUND)?,
    ])
}
