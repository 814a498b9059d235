//! The rules for an origin server that neither hyper nor the router enforces: RFC 9112 and RFC 9113 for the target and
//! the fields of a request, RFC 9110 for OPTIONS.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::header::{ALLOW, HOST};
use axum::http::uri::{Authority, Scheme};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// Wraps a service in [`HttpRules`].
#[derive(Debug, Clone, Copy)]
pub(super) struct HttpRulesLayer;

impl<S> Layer<S> for HttpRulesLayer {
    type Service = HttpRules<S>;

    fn layer(&self, inner: S) -> HttpRules<S> {
        HttpRules { inner }
    }
}

/// Responds 400 to an invalid request, and 200 with `Allow` to OPTIONS.
#[derive(Debug, Clone)]
pub(super) struct HttpRules<S> {
    inner: S,
}

impl<S, RequestBody, Body> Service<Request<RequestBody>> for HttpRules<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
    Body: Default,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = HttpRulesFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let is_options = request.method() == Method::OPTIONS;
        if !is_valid(&request) {
            HttpRulesFuture::Responded {
                status: StatusCode::BAD_REQUEST,
            }
        } else if is_options && request.uri().path() == "*" {
            // The request is for the server as a whole (RFC 9110, 9.3.7).
            HttpRulesFuture::Responded {
                status: StatusCode::OK,
            }
        } else {
            HttpRulesFuture::Routed {
                inner: self.inner.call(request),
                is_options,
            }
        }
    }
}

fn is_valid<B>(request: &Request<B>) -> bool {
    if request.version() >= Version::HTTP_2 {
        is_valid_http2(request.method(), request.uri(), request.headers())
    } else {
        has_valid_host(request.version(), request.headers())
    }
}

/// Whether the number and the value of `Host` are valid (RFC 9112, 3.2).
fn has_valid_host(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => is_host(host.as_bytes()),
        (Some(_), Some(_)) => false,
    }
}

/// Whether the request is well-formed, as far as h2 does not check it (RFC 9113, 8.2.1 and 8.3.1).
fn is_valid_http2(method: &Method, uri: &Uri, headers: &HeaderMap) -> bool {
    let has_path = !uri.path().is_empty() || method == Method::CONNECT;
    let has_user = uri
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    let is_trimmed = |value: &HeaderValue| value.as_bytes().trim_ascii() == value.as_bytes();
    has_path && !has_user && headers.values().all(is_trimmed) && agrees_with_authority(uri, headers)
}

/// Whether there is at most one `Host`, which is valid and names the same server as `:authority`.
fn agrees_with_authority(uri: &Uri, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => {
            is_host(host.as_bytes())
                && uri
                    .authority()
                    .is_none_or(|authority| is_same_server(uri.scheme(), authority, host))
        }
        (Some(_), Some(_)) => false,
    }
}

/// Whether both name the same host and port. The default port of the scheme may be left out.
fn is_same_server(scheme: Option<&Scheme>, authority: &Authority, host: &HeaderValue) -> bool {
    let default_port = if scheme == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default_port);
    Authority::try_from(host.as_bytes()).is_ok_and(|host| {
        host.host().eq_ignore_ascii_case(authority.host()) && port(&host) == port(authority)
    })
}

/// Whether the value is a host with an optional port. It is empty if the target of the request has no authority.
fn is_host(value: &[u8]) -> bool {
    value.is_empty() || Authority::try_from(value).is_ok_and(|authority| !authority.as_str().contains('@'))
}

pin_project! {
    #[project = Projected]
    pub(super) enum HttpRulesFuture<F> {
        Routed {
            #[pin]
            inner: F,
            is_options: bool,
        },
        Responded {
            status: StatusCode,
        },
    }
}

impl<F: Future<Output = Result<Response<Body>, E>>, E, Body: Default> Future for HttpRulesFuture<F> {
    type Output = Result<Response<Body>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Routed { inner, is_options } => {
                let response = ready!(inner.poll(context))?;
                Poll::Ready(Ok(if *is_options {
                    with_options(response)
                } else {
                    response
                }))
            }
            Projected::Responded { status } => {
                let mut response = Response::new(Body::default());
                *response.status_mut() = *status;
                Poll::Ready(Ok(response))
            }
        }
    }
}

/// Turns the 405 of the router into a 200. The router has set `Allow` to the methods of the route.
fn with_options<Body: Default>(mut response: Response<Body>) -> Response<Body> {
    if response.status() == StatusCode::METHOD_NOT_ALLOWED {
        let methods = response
            .headers()
            .get(ALLOW)
            .map_or(&b""[..], HeaderValue::as_bytes);
        let allow = [methods, b",OPTIONS"].concat();
        if let Ok(allow) = HeaderValue::from_bytes(&allow) {
            response.headers_mut().insert(ALLOW, allow);
        }
        *response.status_mut() = StatusCode::OK;
        *response.body_mut() = Body::default();
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_valid_host_is_required_except_in_http_1_0() {
        let cases: [(Version, &[&str], bool); 9] = [
            (Version::HTTP_11, &["app-a:5000"], true),
            (Version::HTTP_11, &["[::1]:5000"], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["a", "a"], false),
            (Version::HTTP_11, &["a b"], false),
            (Version::HTTP_11, &["a/b"], false),
            (Version::HTTP_11, &["user@a"], false),
            (Version::HTTP_10, &[], true),
        ];
        for (version, hosts, expected) in cases {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, HeaderValue::from_static(host));
            }
            assert_eq!(
                has_valid_host(version, &headers),
                expected,
                "{version:?} {hosts:?}"
            );
        }
    }

    #[test]
    fn the_default_port_of_the_scheme_may_be_left_out() {
        let cases = [
            ("http://a/", "a", true),
            ("http://a/", "A:80", true),
            ("http://a:80/", "a", true),
            ("https://a/", "a:443", true),
            ("http://a/", "a:443", false),
            ("http://a:5000/", "a", false),
            ("http://a/", "", false),
            ("http://a/", "user@a", false),
        ];
        for (uri, host, expected) in cases {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            let agrees = agrees_with_authority(&Uri::from_static(uri), &headers);
            assert_eq!(agrees, expected, "{uri} {host}");
        }
    }
}
