//! The line of a user in the users file: a name and the hash of a token, `ada sha256:9f86d0…`.
//!
//! SHA-256 is enough for a token: a long random token cannot be guessed, although the hash is fast. A slow hash, as for
//! passwords, would delay each request.

use hex::FromHex;

use crate::store::{TokenHash, UserRecord};

const SCHEME: &str = "sha256:";

/// The shortest accepted token: 128 bits in hexadecimal. A shorter one could be guessed from its hash.
const MIN_TOKEN: usize = 32;

/// The longest token that `app_a` accepts.
pub(crate) const MAX_TOKEN: usize = 4096;

/// Returns the line of a user.
pub(crate) fn line(name: &str, token: &str) -> String {
    format!(
        "{name} {SCHEME}{}",
        hex::encode(TokenHash::of(token.as_bytes()).as_bytes())
    )
}

/// Parses a line. The error describes the fault, but never repeats the line: it could contain a token.
pub(super) fn parse(line: &str) -> Result<UserRecord, String> {
    const FORM: &str =
        "a name and sha256: with 64 hexadecimal digits, as `app_b user-entry NAME` prints them";
    let mut fields = line.split_whitespace();
    let (Some(name), Some(hash), None) = (fields.next(), fields.next(), fields.next()) else {
        return Err(format!("a line is {FORM}"));
    };
    let hash = hash
        .strip_prefix(SCHEME)
        .and_then(|hash| <[u8; 32]>::from_hex(hash).ok());
    let Some(hash) = hash else {
        return Err(format!("a line is {FORM}"));
    };
    Ok(UserRecord {
        name: user_name(name)?,
        token: TokenHash::from_bytes(hash),
        password_hash: None,
    })
}

/// Parses the name of a user. The table of the users has the same rule.
///
/// # Errors
/// States the accepted names.
pub(crate) fn user_name(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
    // A response with the body `fail` means that no user has the token.
    let fits = !text.is_empty() && text != "fail" && text.bytes().all(is_allowed);
    fits.then(|| text.to_owned())
        .ok_or_else(|| "a name consists of the characters a-z 0-9 . _ - and is not \"fail\"".to_owned())
}

/// Checks a token. Clients send it in a header.
///
/// # Errors
/// States the accepted tokens.
pub(crate) fn check_token(token: &str) -> Result<(), String> {
    let fits =
        (MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then_some(()).ok_or_else(|| {
        format!(
            "a token is one line of {MIN_TOKEN} to {MAX_TOKEN} visible ASCII characters without spaces; \
             `openssl rand -hex 32` makes one"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_line_parses() {
        let token = "0123456789abcdef0123456789abcdef";
        let user = parse(&line("ada", token)).unwrap();
        assert_eq!(user.name, "ada");
        assert_eq!(user.token, TokenHash::of(token.as_bytes()));
        assert_eq!(user.password_hash, None);
    }

    #[test]
    fn a_bad_line_is_described_but_not_repeated() {
        let hash = hex::encode([7; 32]);
        let lines = [
            "ada".to_owned(),
            "ada my-secret-token".to_owned(),
            format!("ada {hash}"),
            format!("ada sha256:{}", &hash[1..]),
            format!("ada sha256:+{}", &hash[1..]),
            format!("ada sha512:{hash}"),
            format!("ada sha256:{hash} my-secret-token"),
            format!("Ada sha256:{hash}"),
            format!("fail sha256:{hash}"),
        ];
        for line in lines {
            let Err(fault) = parse(&line) else {
                panic!("{line}")
            };
            assert!(!fault.contains("secret") && !fault.contains(&hash), "{fault}");
        }
    }

    #[test]
    fn a_token_is_long_and_fits_into_a_header() {
        let good = [
            "x".repeat(32),
            "x".repeat(4096),
            format!("{}~!=/+", "x".repeat(32)),
        ];
        for token in good {
            assert!(check_token(&token).is_ok(), "{token}");
        }
        let bad = [
            "",
            "mytoken",
            &"x".repeat(31),
            &"x".repeat(4097),
            &"x ".repeat(32),
            &"é".repeat(32),
        ];
        for token in bad {
            assert!(
                check_token(token).unwrap_err().contains("openssl rand"),
                "{token}"
            );
        }
    }
}
