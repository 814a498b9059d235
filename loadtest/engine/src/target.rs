//! The targets of requests, and the responses that count as a success.

use std::str::FromStr;

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

/// An invalid target.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadTarget(pub(super) String);

/// A URL with its request method and weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// How often this target is chosen, relative to the weights of the other targets.
    pub weight: u32,
    /// The request method.
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    #[schemars(with = "String")]
    pub method: Method,
    /// The absolute URL.
    #[serde(serialize_with = "as_text", deserialize_with = "of_text")]
    #[schemars(with = "String")]
    pub url: Uri,
}

fn as_text<T: ToString, S: serde::Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&value.to_string())
}

fn of_text<'de, T: FromStr<Err: std::fmt::Display>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(D::Error::custom)
}

impl Target {
    /// Creates a target with weight 1.
    ///
    /// # Errors
    /// When `url` is not an absolute `http` or `https` URL with a host, or contains a user.
    pub fn new(method: Method, url: &str) -> Result<Self, BadTarget> {
        let bad = |reason: &str| BadTarget(format!("`{url}` {reason}"));
        let parsed: Uri = escaped(url)
            .map_err(bad)?
            .parse()
            .map_err(|error| bad(&format!("is not a URL: {error}")))?;
        match parsed.scheme_str() {
            Some("http" | "https") => {}
            _ => {
                return Err(bad(
                    "is not an absolute URL; write http://HOST:PORT/PATH or https://HOST/PATH",
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
            return Err(bad("contains a user; send credentials with --header"));
        }
        Ok(Self {
            weight: 1,
            method,
            url: parsed,
        })
    }

    /// Returns the scheme, host and port of the URL.
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

/// The scheme, host and port of a URL: the destination of connections.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin {
    /// Whether the scheme is `https`.
    pub is_tls: bool,
    /// The host name or IP address, without brackets.
    pub host: String,
    /// The port of the URL, or the default port of the scheme.
    pub port: u16,
}

/// Escapes the characters outside ASCII in the path and the query (RFC 3986, 2.1, in UTF-8).
fn escaped(url: &str) -> Result<String, &'static str> {
    let after_scheme = url.find("://").map_or(0, |scheme| scheme + 3);
    let path = url[after_scheme..]
        .find(['/', '?'])
        .map_or(url.len(), |path| after_scheme + path);
    if !url[..path].is_ascii() {
        return Err("has a host with characters outside ASCII; write its Punycode form (xn--…)");
    }
    let (origin, path) = url.split_at(path);
    Ok(origin.to_owned() + &utf8_percent_encode(path, &AsciiSet::EMPTY).to_string())
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [weight, method, url] = words[..] else {
            return Err(BadTarget(format!(
                "`{text}` is not a target; write 'WEIGHT METHOD URL', for example '1 PUT http://host/jobs'"
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

/// Parses a request method, in upper or lower case.
///
/// # Errors
/// When `text` is not a method.
pub fn parse_method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("`{text}` is not a request method"))
}

/// Parses a header in the form `Name: value`.
///
/// # Errors
/// When `text` is not a header.
pub fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("`{text}` is not a header; write 'Name: value'"))?;
    let name: HeaderName = name
        .trim()
        .parse()
        .map_err(|_| format!("`{name}` is not a header name"))?;
    let value = HeaderValue::from_str(value.trim())
        .map_err(|_| format!("the value of `{name}` contains bytes that are not allowed in a header"))?;
    Ok((name, value))
}

/// The response that counts as a success.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expectations {
    /// Accepted status codes; if empty, any 2xx. Redirects are not followed.
    #[serde(serialize_with = "serialize_codes", deserialize_with = "deserialize_codes")]
    #[schemars(with = "Vec<u16>")]
    pub statuses: Vec<StatusCode>,
    /// The body must contain one of these texts; if empty, any body is accepted.
    pub bodies: Vec<String>,
}

fn serialize_codes<S: serde::Serializer>(statuses: &[StatusCode], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(statuses.iter().map(StatusCode::as_u16))
}

fn deserialize_codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StatusCode>, D::Error> {
    let codes = Vec::<u16>::deserialize(deserializer)?.into_iter();
    codes
        .map(|code| StatusCode::from_u16(code).map_err(D::Error::custom))
        .collect()
}

impl Expectations {
    /// Returns whether the status is an accepted one.
    #[must_use]
    pub fn accepts_status(&self, status: StatusCode) -> bool {
        if self.statuses.is_empty() {
            status.is_success()
        } else {
            self.statuses.contains(&status)
        }
    }

    /// Returns whether the body contains an accepted text.
    #[must_use]
    pub fn accepts_body(&self, body: &[u8]) -> bool {
        self.bodies.is_empty() || self.bodies.iter().any(|text| contains(body, text.as_bytes()))
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_invalid_urls_give_the_reason() {
        for (url, reason) in [
            ("hello", "absolute"),
            ("http:///x", "URL"),
            ("ftp://h/", "absolute"),
            ("http://u@h/", "user"),
            ("http://bücher.example/", "Punycode"),
        ] {
            let error = Target::new(Method::GET, url).unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn characters_outside_ascii_are_escaped_in_path_and_query() {
        for (url, escaped) in [
            ("http://h/grüße?q=é", "http://h/gr%C3%BC%C3%9Fe?q=%C3%A9"),
            ("http://h?q=é", "http://h/?q=%C3%A9"),
            ("http://h/a%20b", "http://h/a%20b"),
        ] {
            let target = Target::new(Method::GET, url).unwrap();
            assert_eq!(target.url.to_string(), escaped, "{url}");
        }
    }

    #[test]
    fn a_target_has_a_weight_a_method_and_a_url() {
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
    fn only_expected_statuses_and_bodies_are_accepted() {
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
}
