//! The sidecar that creates, publishes and renews a serving certificate. `--help` lists every setting.

use std::process::ExitCode;

fn main() -> ExitCode {
    service::runtime::run(serving_cert::run)
}
