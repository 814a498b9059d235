//! What is requested, and what counts as a right answer.

use std::str::FromStr;

use http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use thiserror::Error;

/// Why a target cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct BadTarget(pub(super) String);

/// One URL and how it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Target {
    /// How often it is chosen, relative to the others.
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
///
/// # Errors
/// When `text` is not a method.
pub fn parse_method(text: &str) -> Result<Method, String> {
    Method::from_bytes(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| format!("`{text}` is no request method"))
}

/// A header as `Name: value`.
///
/// # Errors
/// When `text` is not a header.
pub fn parse_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Expectations {
    /// Accepted status codes; any 2xx where empty. Redirects are not followed.
    #[serde(serialize_with = "codes", deserialize_with = "of_codes")]
    #[schemars(with = "Vec<u16>")]
    pub statuses: Vec<StatusCode>,
    /// The body must contain one of these; any body where empty.
    pub bodies: Vec<String>,
}

fn codes<S: serde::Serializer>(statuses: &[StatusCode], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(statuses.iter().map(StatusCode::as_u16))
}

fn of_codes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StatusCode>, D::Error> {
    let codes = Vec::<u16>::deserialize(deserializer)?.into_iter();
    codes
        .map(|code| StatusCode::from_u16(code).map_err(D::Error::custom))
        .collect()
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
}
