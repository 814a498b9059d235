//! Requests to the pair, and what their responses must contain.

use std::time::Duration;

use bytes::Bytes;
use engine::{Fetched, Network, Target, fetch};
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::time::{Instant, sleep};

use super::{
    outcome::{Figure, Judgement},
    token::{Token, form},
};

/// The time between two requests while the pair does not answer as expected.
const POLL: Duration = Duration::from_millis(500);

/// The time limit for one request. The pair answers within its `REQUEST_TIMEOUT` (10 s).
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// The number of expected responses in a row, each on a new connection, which a load balancer may send to another pod. Of two pods,
/// a wrong one is missed with a probability of one in a million (0.5^20).
const CONFIRMATIONS: usize = 20;

/// The number of bytes of a body in a report.
const SHOWN_BYTES: usize = 200;

/// The authorisation of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// No header `Authorization`.
    None,
    /// The token.
    Token,
    /// A token that nobody has.
    WrongToken,
    /// The token in a form, as `app_a` sends it to `app_b`.
    TokenForm,
    /// A token that nobody has, in a form.
    WrongTokenForm,
}

/// The token that nobody has.
const WRONG_TOKEN: &str = "not-a-token-of-anybody";

/// The content type of a form.
const FORM: &str = "application/x-www-form-urlencoded";

/// What a body must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedBody {
    /// Any body.
    Any,
    /// Exactly this text.
    Exact(String),
    /// A body that contains this text.
    Contains(String),
}

/// A request, and what its response must contain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The method and the URL.
    pub target: Target,
    /// The authorisation.
    pub authorization: Authorization,
    /// The status of the response.
    pub status: StatusCode,
    /// The body of the response.
    pub body: ExpectedBody,
    /// A header of the response, and a text that its value must contain.
    pub header: Option<(HeaderName, &'static str)>,
    /// Whether a redirect to HTTPS is followed, with the same path.
    pub follows_redirect: bool,
}

impl Check {
    /// Creates a check without authorisation that accepts any body.
    #[must_use]
    pub fn new(target: Target, status: StatusCode) -> Self {
        Self {
            target,
            authorization: Authorization::None,
            status,
            body: ExpectedBody::Any,
            header: None,
            follows_redirect: false,
        }
    }

    /// Describes the request, without the token.
    #[must_use]
    pub fn describe(&self) -> String {
        let with = match self.authorization {
            Authorization::None => "",
            Authorization::Token | Authorization::TokenForm => " with the token",
            Authorization::WrongToken | Authorization::WrongTokenForm => " with a wrong token",
        };
        format!("{} {}{with}", self.target.method, self.target.url)
    }

    /// Returns how a response differs from the expected one; `None` if it does not.
    fn difference(&self, response: &Fetched) -> Option<String> {
        if response.status != self.status {
            return Some(format!("the status is not {}", self.status.as_u16()));
        }
        let body = String::from_utf8_lossy(&response.body);
        match &self.body {
            ExpectedBody::Exact(text) if body != *text => {
                return Some(format!("the body is not {text:?}"));
            }
            ExpectedBody::Contains(text) if !body.contains(text) => {
                return Some(format!("the body does not contain {text:?}"));
            }
            _ => {}
        }
        let (name, text) = self.header.as_ref()?;
        let value = response.headers.get(name).and_then(|value| value.to_str().ok());
        (!value.is_some_and(|value| value.contains(text)))
            .then(|| format!("the header {name} is not {text:?}"))
    }
}

/// How requests are sent.
#[derive(Clone, Debug)]
pub struct Client {
    /// How connections are opened, and how certificates are verified.
    pub network: Network,
    /// The token of the pair; `None` if no test needs it.
    pub token: Option<Token>,
}

impl Client {
    /// Sends the request of a check, and compares its response. Returns the response as text.
    ///
    /// # Errors
    /// Returns the difference and the response as text.
    async fn attempt(&self, check: &Check) -> Result<Answer, (String, String)> {
        let mut response = self.send(check, &check.target).await?;
        let mut redirected = None;
        if check.follows_redirect
            && let Some(target) = redirect(&check.target, &response)
        {
            response = self.send(check, &target).await?;
            redirected = Some(target.url.to_string());
        }
        let text = describe(&response, redirected.as_deref());
        match check.difference(&response) {
            None => Ok(Answer {
                took: response.took,
                text,
            }),
            Some(difference) => Err((difference, text)),
        }
    }

    /// Sends the request of a check once.
    ///
    /// # Errors
    /// Returns how the response differs, and the response as text.
    pub(super) async fn expect(&self, check: &Check) -> Result<(), String> {
        let answer = self.attempt(check).await.map(drop);
        answer.map_err(|(difference, seen)| format!("{}: {difference}: {seen}", check.describe()))
    }

    async fn send(&self, check: &Check, target: &Target) -> Result<Fetched, (String, String)> {
        let missing = || ("there is no token".to_owned(), String::new());
        let token = || self.token.as_ref().ok_or_else(missing);
        let mut body = Bytes::new();
        let header = match check.authorization {
            Authorization::None => None,
            Authorization::Token => Some((header::AUTHORIZATION, token()?.header())),
            Authorization::WrongToken => Some((header::AUTHORIZATION, HeaderValue::from_static(WRONG_TOKEN))),
            Authorization::TokenForm | Authorization::WrongTokenForm => {
                body = match check.authorization {
                    Authorization::TokenForm => token()?.form().into(),
                    _ => form(WRONG_TOKEN).into(),
                };
                Some((header::CONTENT_TYPE, HeaderValue::from_static(FORM)))
            }
        };
        let headers: Vec<_> = header.into_iter().collect();
        let response = fetch(&self.network, target, &headers, &body, REQUEST_LIMIT).await;
        response.map_err(|error| ("there is no response".to_owned(), error.to_string()))
    }

    /// Waits until a request is answered as expected, and then expects this answer [`CONFIRMATIONS`] times in a row.
    pub async fn check(&self, check: &Check, deadline: Instant) -> Judgement {
        let request = check.describe();
        let started = Instant::now();
        let first = loop {
            let (difference, seen) = match self.attempt(check).await {
                Ok(answer) => break answer,
                Err(found) => found,
            };
            if Instant::now() + POLL > deadline {
                return Judgement::failed(format!("{request}: {difference}"), seen);
            }
            sleep(POLL).await;
        };
        let waited = started.elapsed().saturating_sub(first.took);
        let mut times = vec![first.took];
        for number in 1..CONFIRMATIONS {
            if Instant::now() > deadline {
                let reason = format!(
                    "{request}: the deadline came after {number} of {CONFIRMATIONS} expected responses"
                );
                return Judgement::failed(reason, first.text);
            }
            match self.attempt(check).await {
                Ok(answer) => times.push(answer.took),
                Err((difference, seen)) => {
                    let reason = format!("{request}: after {number} expected responses, {difference}");
                    return Judgement::failed(reason, seen);
                }
            }
        }
        times.sort_unstable();
        let median = times[times.len() / 2];
        let seen = format!("{}; {CONFIRMATIONS} times in a row", first.text);
        Judgement::passed(seen)
            .with("wait for the first expected response", waited.as_secs_f64(), "s")
            .with(
                "response time on a new connection, median",
                median.as_secs_f64() * 1000.0,
                "ms",
            )
    }
}

/// An expected response.
struct Answer {
    took: Duration,
    text: String,
}

/// Returns the target of a redirect to the same host and path over HTTPS.
fn redirect(target: &Target, response: &Fetched) -> Option<Target> {
    if !response.status.is_redirection() || target.origin().is_tls {
        return None;
    }
    let location = response.headers.get(header::LOCATION)?.to_str().ok()?;
    let redirected = Target::new(target.method.clone(), location).ok()?;
    let origin = redirected.origin();
    let is_same = origin.is_tls
        && origin.host == target.origin().host
        && redirected.url.path_and_query() == target.url.path_and_query();
    is_same.then_some(redirected)
}

/// Describes a response in one line.
fn describe(response: &Fetched, redirected: Option<&str>) -> String {
    let body = &response.body[..response.body.len().min(SHOWN_BYTES)];
    let kind = response.headers.get(header::CONTENT_TYPE);
    let kind = kind.map_or("no content type".to_owned(), |kind| {
        String::from_utf8_lossy(kind.as_bytes()).into_owned()
    });
    let redirected = redirected
        .map(|url| format!("redirected to {url}: "))
        .unwrap_or_default();
    format!(
        "{redirected}{}, {kind}, {:?}",
        response.status.as_u16(),
        String::from_utf8_lossy(body)
    )
}

/// The test `urls`: every check at the same time, so that one that waits until the deadline takes no time from the others.
pub async fn urls(client: &Client, checks: &[Check], deadline: Instant) -> Judgement {
    let (mut wrong, mut differences, mut right, mut figures) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let all = join_all(checks.iter().map(|check| client.check(check, deadline))).await;
    for (check, judged) in checks.iter().zip(all) {
        let request = check.describe();
        if let Some(failure) = judged.failure {
            wrong.push(request);
            differences.push(format!("{failure}: {}", judged.seen));
        } else {
            let times = judged.figures.into_iter().filter(|figure| figure.unit == "ms");
            figures.extend(times.map(|figure| Figure {
                name: format!("{request}: {}", figure.name),
                ..figure
            }));
            right.push(format!("{request}: {}", judged.seen));
        }
    }
    let judged = if wrong.is_empty() {
        Judgement::passed(right.join("; "))
    } else {
        let reason = format!(
            "{} of {} requests: {}",
            wrong.len(),
            checks.len(),
            wrong.join(", ")
        );
        Judgement::failed(reason, differences.join("; "))
    };
    Judgement { figures, ..judged }
}
