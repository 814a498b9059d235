//! The public frontend. `--help` lists all settings.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::runtime::run(app_a::run)
}
