//! The users file: each line is one user. Empty lines, and lines that start with `#`, are ignored.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use service::reload;

use super::entry;
use crate::store::UserRecord;

/// Reasons that a users file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("the users file {} cannot be read: {reason}; create it, or set USERS_FILE to another file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: io::Error,
    },
    /// A line is not valid.
    #[error("the users file {} is not valid, line {line}: {fault}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The number of the line, from 1.
        line: usize,
        /// The fault. It does not repeat the line, which could contain a token.
        fault: String,
    },
}

/// Reads the users.
pub(super) async fn load(path: &Path) -> Result<Vec<UserRecord>, Error> {
    let text = reload::read(path).await.map_err(|reason| Error::Unreadable {
        path: path.to_owned(),
        reason,
    })?;
    parse(&text).map_err(|(line, fault)| Error::Invalid {
        path: path.to_owned(),
        line,
        fault,
    })
}

/// Parses the text of a file. An error has the number of the line.
fn parse(text: &str) -> Result<Vec<UserRecord>, (usize, String)> {
    let mut users: Vec<UserRecord> = Vec::new();
    let (mut names, mut tokens) = (HashMap::new(), HashMap::new());
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let user = entry::parse(line).map_err(|fault| (number, fault))?;
        if let Some(first) = names.insert(user.name.clone(), number) {
            return Err((number, format!("line {first} has the same name")));
        }
        if let Some(first) = tokens.insert(user.token, number) {
            return Err((number, format!("line {first} has the same token")));
        }
        users.push(user);
    }
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(byte: u8) -> String {
        format!("sha256:{}", hex::encode([byte; 32]))
    }

    fn names(text: &str) -> Result<Vec<String>, (usize, String)> {
        parse(text).map(|users| users.into_iter().map(|user| user.name).collect())
    }

    #[test]
    fn comments_and_empty_lines_are_ignored() {
        let text = format!("# team\r\n\r\n  ada\t{}  \n#grace\nedsger {}", hash(1), hash(2));
        assert_eq!(names(&text), Ok(vec!["ada".to_owned(), "edsger".to_owned()]));
        assert_eq!(names("# nobody\n"), Ok(Vec::new()));
    }

    #[test]
    fn a_fault_is_reported_with_the_number_of_its_line() {
        let cases = [
            (
                format!("ada {}\n\nada {}", hash(1), hash(2)),
                3,
                "line 1 has the same name",
            ),
            (
                format!("ada {}\nedsger {}", hash(1), hash(1)),
                2,
                "line 1 has the same token",
            ),
            ("#\nada".to_owned(), 2, "app_b user-entry"),
        ];
        for (text, line, fault) in cases {
            let (reported, text) = names(&text).unwrap_err();
            assert_eq!(reported, line, "{text}");
            assert!(text.contains(fault), "{text}");
        }
    }
}
