//! What is requested: one target or a weighted mix, and what counts as a right answer.

use std::{str::FromStr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};
use http_body_util::Full;
use serde::Serialize;
use thiserror::Error;

/// Why a target cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadTarget(String);

/// One URL and how it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Target {
    /// How often it is chosen, relative to the others.
    pub weight: u32,
    /// The request method.
    #[serde(serialize_with = "as_text")]
    pub method: Method,
    /// The absolute URL.
    #[serde(serialize_with = "as_text")]
    pub url: Uri,
}

fn as_text<T: ToString, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

impl Target {
    /// A target of weight 1.
    ///
    /// # Errors
    /// When `url` is not an absolute URL of HTTP with a host.
    pub fn new(method: Method, url: &str) -> Result<Self, BadTarget> {
        let bad = |why: &str| BadTarget(format!("`{url}` {why}"));
        let parsed: Uri = url.parse().map_err(|error| bad(&format!("is no URL: {error}")))?;
        match parsed.scheme_str() {
            Some("http" | "https") => {}
            _ => {
                return Err(bad(
                    "is no absolute URL; write http://HOST:PORT/PATH or https://HOST/PATH",
                ));
            }
        }
        if parsed.host().is_none_or(str::is_empty) {
            return Err(bad("has no host"));
        }
        if parsed
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
        {
            return Err(bad("has a user in it; send credentials with --header"));
        }
        Ok(Self {
            weight: 1,
            method,
            url: parsed,
        })
    }

    /// What to connect to.
    #[must_use]
    pub fn origin(&self) -> Origin {
        let is_tls = self.url.scheme_str() == Some("https");
        let host = self.url.host().unwrap_or_default();
        Origin {
            is_tls,
            host: host.trim_matches(['[', ']']).to_ascii_lowercase(),
            port: self.url.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
        }
    }
}

/// What connections are opened to: the scheme, host and port of a URL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// `https` and not `http`.
    pub is_tls: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, the scheme's own where the URL names none.
    pub port: u16,
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [weight, method, url] = words[..] else {
            return Err(BadTarget(format!(
                "`{text}` is no target; write 'WEIGHT METHOD URL', as in '1 PUT http://host/jobs'"
            )));
        };
        let weight = weight
            .parse()
            .ok()
            .filter(|weight| (1..=1_000_000).contains(weight))
            .ok_or_else(|| {
                BadTarget(format!(
                    "the weight `{weight}` must be a whole number from 1 to 1000000"
                ))
            })?;
        Ok(Self {
            weight,
            ..Self::new(parse_method(method).map_err(BadTarget)?, url)?
        })
    }
}

/// A request method, in any case.
pub(crate) fn parse_method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("`{text}` is no request method"))
}

/// A header as `Name: value`.
pub(crate) fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("`{text}` is no header; write 'Name: value'"))?;
    let name: HeaderName = name
        .trim()
        .parse()
        .map_err(|_| format!("`{name}` is no header name"))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("the value of `{name}` has bytes that no header may carry"))?;
    Ok((name, value))
}

/// What an answer must look like to count as a success.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Expectations {
    /// Accepted status codes; any 2xx where empty. Redirects are not followed.
    #[serde(serialize_with = "codes")]
    pub statuses: Vec<StatusCode>,
    /// The body must contain one of these; any body where empty.
    pub bodies: Vec<String>,
}

fn codes<S: serde::Serializer>(statuses: &[StatusCode], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(statuses.iter().map(StatusCode::as_u16))
}

impl Expectations {
    /// Whether the status is one of those asked for.
    #[must_use]
    pub fn accepts_status(&self, status: StatusCode) -> bool {
        if self.statuses.is_empty() {
            status.is_success()
        } else {
            self.statuses.contains(&status)
        }
    }

    /// Whether the body contains one of the texts asked for.
    #[must_use]
    pub fn accepts_body(&self, body: &[u8]) -> bool {
        self.bodies.is_empty() || self.bodies.iter().any(|text| contains(body, text.as_bytes()))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

/// The version of HTTP that is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: agreed on by TLS, and taken for granted without.
    Http2 {
        /// The most requests at a time on a connection.
        streams: usize,
    },
}

impl Protocol {
    /// Its name in TLS.
    pub(crate) fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 { .. } => b"h2",
        }
    }
}

/// Targets with their weights, and what each request carries.
#[derive(Clone, Debug)]
pub struct Mix {
    targets: Arc<[Target]>,
    requests: Arc<[Request<Full<Bytes>>]>,
    /// The sum of the weights up to and with each target, as a share of all.
    thresholds: Arc<[f64]>,
    protocol: Protocol,
}

impl Mix {
    /// A mix of `targets`, each sent with `headers` and `body`.
    ///
    /// # Errors
    /// Without a target.
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
        let all: f64 = targets.iter().map(|target| f64::from(target.weight)).sum();
        let mut sum = 0.0;
        let thresholds = targets
            .iter()
            .map(|target| {
                sum += f64::from(target.weight);
                sum / all
            })
            .collect();
        Ok(Self {
            targets: targets.into(),
            requests,
            thresholds,
            protocol,
        })
    }

    /// Whether a target is reached by TLS.
    #[must_use]
    pub fn needs_tls(&self) -> bool {
        self.targets.iter().any(|target| target.origin().is_tls)
    }

    /// The version of HTTP that is spoken.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// All targets, in the order given.
    #[must_use]
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// A fresh request for the target at `position`.
    pub(crate) fn request(&self, position: usize) -> Request<Full<Bytes>> {
        self.requests[position].clone()
    }

    /// Which target arrival number `index` asks for. Multiples of the golden ratio spread the shares evenly at every
    /// scale, without the lockstep that a plain round robin would fall into with a round robin over connections.
    #[must_use]
    pub fn choose(&self, index: u64) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        // Fixed point: the fraction of index * golden ratio, in units of 2^-64.
        let fraction = index.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        #[expect(
            clippy::cast_precision_loss,
            reason = "a share of 1; its last bits do not matter"
        )]
        let share = fraction as f64 / 18_446_744_073_709_551_616.0;
        self.thresholds
            .iter()
            .position(|threshold| share < *threshold)
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
            // Scheme and host are parts of the request; a host that the user names is what it is for.
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
    use super::*;

    #[test]
    fn urls_that_cannot_be_loaded_say_why() {
        for (url, why) in [
            ("hello", "absolute"),
            ("http:///x", "URL"),
            ("ftp://h/", "absolute"),
            ("http://u@h/", "user"),
        ] {
            let error = Target::new(Method::GET, url).unwrap_err().to_string();
            assert!(error.contains(why), "{url}: {error}");
        }
    }

    #[test]
    fn a_target_carries_weight_method_and_url() {
        let target: Target = "3 put http://[::1]:5000/jobs?x=1".parse().unwrap();
        assert_eq!(
            (target.weight, &target.method, target.origin()),
            (
                3,
                &Method::PUT,
                Origin {
                    is_tls: false,
                    host: "::1".to_owned(),
                    port: 5000
                }
            )
        );
        let port = |url| Target::new(Method::GET, url).unwrap().origin().port;
        assert_eq!((port("http://h/"), port("https://h/")), (80, 443));
        for text in [
            "http://h/",
            "0 GET http://h/",
            "x GET http://h/",
            "1 GET http://h/ extra",
        ] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_mix_keeps_its_shares_over_any_stretch() {
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
                let second = (start..start + length)
                    .filter(|index| mix.choose(*index) == 1)
                    .count();
                let expected = usize::try_from(length / 4).unwrap();
                assert!(
                    second.abs_diff(expected) <= 4,
                    "{second} of {length} from {start}, expected {expected}"
                );
            }
        }
    }

    #[test]
    fn statuses_and_bodies_are_what_was_asked_for() {
        let any = Expectations::default();
        assert!(
            any.accepts_status(StatusCode::NO_CONTENT)
                && !any.accepts_status(StatusCode::FOUND)
                && any.accepts_body(b"")
        );
        let strict = Expectations {
            statuses: vec![StatusCode::UNAUTHORIZED],
            bodies: vec!["fail".to_owned(), "Hello".to_owned()],
        };
        assert!(strict.accepts_status(StatusCode::UNAUTHORIZED) && !strict.accepts_status(StatusCode::OK));
        assert!(strict.accepts_body(b"Hello there") && !strict.accepts_body(b"hell"));
    }

    #[test]
    fn requests_carry_host_headers_and_body() {
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
