//! The token of the pair. It never appears in a report.

use std::fmt;

use http::HeaderValue;

/// The text that replaces the token.
const REPLACEMENT: &str = "(token)";

/// The token that authorises requests to `/jobs`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Creates a token from the content of a file or a variable. Leaves out white space at both ends, such as the line break at
    /// the end of a file.
    ///
    /// # Errors
    /// Returns a message if the token is empty, or contains bytes that a header cannot have.
    pub fn new(text: &str) -> Result<Self, String> {
        let token = text.trim();
        if token.is_empty() {
            return Err("the token is empty".to_owned());
        }
        HeaderValue::from_str(token)
            .map_err(|_| "the token contains bytes that are not allowed in a header".to_owned())?;
        Ok(Self(token.to_owned()))
    }

    /// Returns the value of the header `Authorization`. The value is not shown in debug output.
    ///
    /// # Panics
    /// Never: the token was checked when it was created.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        let mut value = HeaderValue::from_str(&self.0).expect("checked when the token was created");
        value.set_sensitive(true);
        value
    }

    /// Returns the form `token=…`, as `app_b` reads it.
    pub(super) fn form(&self) -> String {
        form(&self.0)
    }

    /// Replaces the token in a text.
    #[must_use]
    pub fn redact(&self, text: &str) -> String {
        text.replace(&self.0, REPLACEMENT)
    }
}

/// Returns the form with this token.
pub(super) fn form(token: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("token", token)
        .finish()
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REPLACEMENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_trimmed_and_never_shown() {
        let token = Token::new(" s3cret\n").unwrap();
        assert_eq!(token.header().to_str().unwrap(), "s3cret");
        assert_eq!(format!("{token:?} {:?}", token.header()), "(token) Sensitive");
        assert_eq!(token.redact("got s3cret, s3cret"), "got (token), (token)");
        for text in ["", " \n", "a\nb", "a\u{7f}"] {
            let error = Token::new(text).unwrap_err();
            assert!(error.starts_with("the token"), "{error}");
        }
    }
}
