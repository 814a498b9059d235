//! `DATABASE_URL`: the kind of the database and its path.

use std::fmt;
use std::path::{Path, PathBuf};

const SCHEME: &str = "sqlite://";

/// The URL of the database. The only supported kind is a SQLite file.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(PathBuf);

impl DatabaseUrl {
    /// Returns the path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether this is the default URL. Another user may own a parent of its directory.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for DatabaseUrl {
    /// Returns a file in the state directory of the user, by the XDG Base Directory Specification.
    fn default() -> Self {
        let configured = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
        let state = configured.filter(|path| path.is_absolute()).unwrap_or_else(|| {
            let home = std::env::home_dir().unwrap_or_default();
            home.join(".local/state")
        });
        Self(state.join("app_b/app_b.db"))
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}", self.0.display())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Parses a URL.
///
/// # Errors
/// States the accepted form.
pub fn database_url(text: &str) -> Result<DatabaseUrl, String> {
    let path = text
        .strip_prefix(SCHEME)
        .filter(|path| !path.is_empty() && !path.ends_with('/'));
    match path {
        Some(path) if !path.contains(['?', '#', '\0']) => Ok(DatabaseUrl(path.into())),
        _ => Err("sqlite:// and the path of a file, such as sqlite:///data/app_b.db".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_follows_the_scheme() {
        assert_eq!(
            database_url("sqlite:///data/app_b.db").unwrap().path(),
            Path::new("/data/app_b.db")
        );
        assert_eq!(
            database_url("sqlite://app_b.db").unwrap().path(),
            Path::new("app_b.db")
        );
        for text in [
            "",
            "sqlite:",
            "sqlite://",
            "sqlite:///data/",
            "postgres://u:p@db/users",
            "sqlite://x?mode=ro",
        ] {
            let accepted = database_url(text).unwrap_err();
            assert!(accepted.contains("sqlite:///data/app_b.db"), "{text}: {accepted}");
        }
    }
}
