//! The internal service that knows the users. `--help` lists all settings.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::runtime::run(app_b::run)
}
