//! The checks that a user passes to `loadtest verify --check`.

use engine::{Target, parse_method};
use http::StatusCode;
use prover::verify::{Authorization, Check, ExpectedBody};

/// Parses `[token] METHOD URL STATUS [TEXT]`.
pub(super) fn parse_check(text: &str) -> Result<Check, String> {
    let invalid = || {
        format!(
            "`{text}` is not a check; write 'METHOD URL STATUS TEXT', for example 'GET https://host/hello 200 Hello'"
        )
    };
    let (authorization, rest) = match text.strip_prefix("token ") {
        Some(rest) => (Authorization::Token, rest),
        None => (Authorization::None, text),
    };
    let mut words = rest.splitn(4, ' ');
    let mut word = || words.next().filter(|word| !word.is_empty()).ok_or_else(invalid);
    let (method, url, status) = (word()?, word()?, word()?);
    let status: StatusCode = status.parse().map_err(|_| invalid())?;
    let target = Target::new(parse_method(method)?, url).map_err(|error| error.to_string())?;
    let body = words
        .next()
        .map_or(ExpectedBody::Any, |text| ExpectedBody::Contains(text.to_owned()));
    Ok(Check {
        authorization,
        body,
        ..Check::new(target, status)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_a_method_a_url_a_status_and_perhaps_a_token_and_a_text() {
        let check = parse_check("GET https://host/hello 200 Hello there").unwrap();
        assert_eq!(check.describe(), "GET https://host/hello");
        assert_eq!(check.body, ExpectedBody::Contains("Hello there".to_owned()));
        let check = parse_check("token put https://host/jobs 401").unwrap();
        assert_eq!(check.describe(), "PUT https://host/jobs with the token");
        assert_eq!(
            (check.status, check.body),
            (StatusCode::UNAUTHORIZED, ExpectedBody::Any)
        );
        for text in [
            "",
            "GET",
            "GET https://host/ ok",
            "GET host 200",
            "GET  https://host/ 200",
        ] {
            assert!(parse_check(text).is_err(), "{text:?}");
        }
    }
}
