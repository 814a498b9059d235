//! `loadtest chain`: checks the metrics chain from the pods to the HPA, and names the first broken link.

mod adapter_checks;
mod diagnosis;
mod evidence;
mod external_checks;
mod finding;
mod prometheus_checks;
mod wait;

pub use self::{evidence::ChainOptions, wait::wait_until_healthy};
