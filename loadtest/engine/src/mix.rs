//! The content of requests: targets chosen by weight, with headers, a body and a version of HTTP.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header};
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    content::Content,
    target::{BadTarget, Target},
};

/// The version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: negotiated with TLS (ALPN), and used without negotiation without TLS.
    Http2 {
        /// The maximum number of concurrent requests on a connection.
        streams: usize,
    },
}

impl Protocol {
    /// Returns the protocol name in the TLS negotiation (ALPN).
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 { .. } => b"h2",
        }
    }
}

/// Targets with their weights and prepared requests.
#[derive(Clone, Debug)]
pub struct Mix {
    targets: Arc<[Target]>,
    requests: Arc<[Request<Full<Bytes>>]>,
    /// For each target: the sum of its weight and all weights before it, as a share of the total weight.
    cumulative_shares: Arc<[f64]>,
    protocol: Protocol,
    content: Content,
}

impl Mix {
    /// Creates a mix of `targets`. Each request has `headers` and `body`.
    ///
    /// # Errors
    /// When there is no target, or a target cannot be requested.
    pub fn new(
        targets: Vec<Target>,
        headers: &[(HeaderName, HeaderValue)],
        body: &Bytes,
        protocol: Protocol,
    ) -> Result<Self, BadTarget> {
        if targets.is_empty() {
            return Err(BadTarget("no URL to send requests to".to_owned()));
        }
        let requests = targets
            .iter()
            .map(|target| request(target, headers, body, protocol))
            .collect::<Result<_, _>>()?;
        let total: f64 = targets.iter().map(|target| f64::from(target.weight)).sum();
        let mut sum = 0.0;
        let cumulative_shares = targets
            .iter()
            .map(|target| {
                sum += f64::from(target.weight);
                sum / total
            })
            .collect();
        Ok(Self {
            targets: targets.into(),
            requests,
            cumulative_shares,
            protocol,
            content: Content::new(headers, body),
        })
    }

    /// Returns whether a target uses TLS.
    #[must_use]
    pub fn needs_tls(&self) -> bool {
        self.targets.iter().any(|target| target.origin().is_tls)
    }

    /// Returns the version of HTTP.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns what a report says about the headers and the body.
    pub(crate) fn content(&self) -> &Content {
        &self.content
    }

    /// Returns all targets, in the order given.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Returns a new request for the target at `position`.
    pub(crate) fn request(&self, position: usize) -> Request<Full<Bytes>> {
        self.requests[position].clone()
    }

    /// Returns the position of the target for the arrival with this index.
    ///
    /// Multiples of the golden ratio distribute the shares evenly over every interval. Plain round-robin would run in
    /// lockstep with the round-robin over connections.
    #[must_use]
    pub fn choose(&self, index: u64) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        // The fractional part of index * golden ratio, as a fixed-point number in units of 2^-64.
        let fraction = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share between 0 and 1; its last bits do not matter"
        )]
        let share = fraction as f64 / 18_446_744_073_709_551_616.0;
        self.cumulative_shares
            .iter()
            .position(|cumulative_share| share < *cumulative_share)
            .unwrap_or(self.targets.len() - 1)
    }
}

fn request(
    target: &Target,
    headers: &[(HeaderName, HeaderValue)],
    body: &Bytes,
    protocol: Protocol,
) -> Result<Request<Full<Bytes>>, BadTarget> {
    let bad =
        |error: &dyn std::fmt::Display| BadTarget(format!("`{}` cannot be requested: {error}", target.url));
    let path = target.url.path_and_query().map_or("/", |path| path.as_str());
    let authority = target.url.authority().map_or("", |authority| authority.as_str());
    let mut all = HeaderMap::new();
    all.insert(
        header::HOST,
        HeaderValue::from_str(authority).map_err(|error| bad(&error))?,
    );
    all.insert(
        header::USER_AGENT,
        HeaderValue::from_static(concat!("loadtest/", env!("CARGO_PKG_VERSION"))),
    );
    all.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    for (name, _) in headers {
        all.remove(name);
    }
    for (name, value) in headers {
        all.append(name, value.clone());
    }
    let mut request = Request::new(Full::new(body.clone()));
    *request.method_mut() = target.method.clone();
    match protocol {
        Protocol::Http1 => *request.uri_mut() = path.parse().map_err(|error| bad(&error))?,
        Protocol::Http2 { .. } => {
            // HTTP/2 sends scheme and host in the request URI. A user-defined `Host` replaces the host of the URL.
            let host = all.remove(header::HOST).map(|host| host.as_bytes().to_owned());
            let mut parts = target.url.clone().into_parts();
            parts.authority = match host {
                Some(host) => Some(http::uri::Authority::try_from(&host[..]).map_err(|error| bad(&error))?),
                None => parts.authority,
            };
            parts.path_and_query = Some(path.parse().map_err(|error| bad(&error))?);
            *request.uri_mut() = Uri::from_parts(parts).map_err(|error| bad(&error))?;
            *request.version_mut() = Version::HTTP_2;
        }
    }
    *request.headers_mut() = all;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;
    use crate::parse_header;

    #[test]
    fn a_mix_keeps_its_shares_in_any_interval() {
        let mix = Mix::new(
            vec![
                "3 GET http://h/a".parse().unwrap(),
                "1 PUT http://h/b".parse().unwrap(),
            ],
            &[],
            &Bytes::new(),
            Protocol::Http1,
        )
        .unwrap();
        for start in [0_u64, 17, 1_000_003] {
            for length in [100_u64, 392, 10_000] {
                let chosen = (start..start + length)
                    .filter(|index| mix.choose(*index) == 1)
                    .count();
                let expected = usize::try_from(length / 4).unwrap();
                assert!(
                    chosen.abs_diff(expected) <= 4,
                    "{chosen} of {length} from {start}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn requests_have_the_host_headers_and_body() {
        let headers = [
            parse_header("Authorization: mytoken").unwrap(),
            parse_header("host: other").unwrap(),
        ];
        let mix = Mix::new(
            vec![Target::new(Method::PUT, "http://h:1/jobs?a=b").unwrap()],
            &headers,
            &Bytes::from_static(b"x"),
            Protocol::Http1,
        )
        .unwrap();
        let request = mix.request(0);
        assert_eq!(
            (
                request.uri().to_string().as_str(),
                request.headers()["host"].as_bytes()
            ),
            ("/jobs?a=b", &b"other"[..])
        );
        assert_eq!(request.headers()["authorization"], "mytoken");

        let target = Target::new(Method::PUT, "http://h:1/jobs?a=b").unwrap();
        let mix = Mix::new(
            vec![target],
            &headers,
            &Bytes::new(),
            Protocol::Http2 { streams: 1 },
        )
        .unwrap();
        let request = mix.request(0);
        assert_eq!(request.uri(), "http://other/jobs?a=b");
        assert!(!request.headers().contains_key("host"));
    }
}
