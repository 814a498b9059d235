//! Errors of opening the database. Each names the file, the reason, and what to do.

use std::io;
use std::path::{Path, PathBuf};

/// Reasons that the database cannot be opened. The service then exits with code 1.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory of the file does not exist and cannot be created.
    #[error("the directory of the database {} cannot be created: {source}; {WRITABLE}", path.display())]
    Directory {
        /// The database.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Another user can write to the default directory.
    #[error("the directory of the database {} {reason}; {PRIVATE}", path.display())]
    NotPrivate {
        /// The database.
        path: PathBuf,
        /// The fault of the directory.
        reason: &'static str,
    },
    /// The file cannot be opened or written.
    #[error("the database {} cannot be {step}: {source}; {advice}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// The step that failed.
        step: &'static str,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
        /// What to do.
        advice: &'static str,
    },
}

const WRITABLE: &str = "give this process a directory it can write to (in a container, a volume at /data), or set \
                        DATABASE_URL to a file in such a directory";
const PRIVATE: &str = "set DATABASE_URL to a file in a directory of your own";
const FULL: &str = "free some space on that disk, or set DATABASE_URL to a file on another one";
const DAMAGED: &str = "move the file away; the next start creates a new one with the users";
const BUSY: &str = "stop the other process that uses it, or set DATABASE_URL to another file";
const NEWER: &str = "another version of app_b wrote it: start that version, or move the file away";
const UNKNOWN: &str = "check the disk, or set DATABASE_URL to another file";

impl OpenError {
    pub(super) fn directory(path: &Path, source: io::Error) -> Self {
        Self::Directory {
            path: path.to_owned(),
            source,
        }
    }

    pub(super) fn not_private(path: &Path, reason: &'static str) -> Self {
        Self::NotPrivate {
            path: path.to_owned(),
            reason,
        }
    }

    pub(super) fn database(path: &Path, step: &'static str, source: sqlx::Error) -> Self {
        let advice = match code(&source) {
            // The primary result codes of https://sqlite.org/rescode.html
            Some(3 | 8 | 14 | 23) => WRITABLE,
            // SQLite reports an I/O error (10) when a quota or a file size limit is exceeded.
            Some(10 | 13) => FULL,
            Some(11 | 26) => DAMAGED,
            Some(5 | 6) => BUSY,
            _ => UNKNOWN,
        };
        Self::Database {
            path: path.to_owned(),
            step,
            source: source.into(),
            advice,
        }
    }

    pub(super) fn damaged(path: &Path, report: String) -> Self {
        Self::Database {
            path: path.to_owned(),
            step: "used",
            source: report.into(),
            advice: DAMAGED,
        }
    }

    pub(super) fn migration(path: &Path, source: sqlx::migrate::MigrateError) -> Self {
        use sqlx::migrate::MigrateError::{Execute, ExecuteMigration, VersionMismatch, VersionMissing};
        let step = "migrated";
        match source {
            Execute(source) | ExecuteMigration(source, _) => Self::database(path, step, source),
            VersionMissing(_) | VersionMismatch(_) => Self::Database {
                path: path.to_owned(),
                step,
                source: source.into(),
                advice: NEWER,
            },
            other => Self::Database {
                path: path.to_owned(),
                step,
                source: other.into(),
                advice: UNKNOWN,
            },
        }
    }
}

/// Returns the primary result code of SQLite.
pub(super) fn code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
