//! Messages on standard error, before the log starts and instead of it.

use std::fmt;
use std::io::{self, Write};

/// Writes a line to standard error. A closed standard error is ignored: `eprintln!` would panic.
pub fn error(line: impl fmt::Display) {
    writeln!(io::stderr(), "{line}").ok();
}
