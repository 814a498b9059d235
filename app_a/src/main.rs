//! The public frontend. `--help` lists every setting.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::runtime::run(app_a::run)
}
