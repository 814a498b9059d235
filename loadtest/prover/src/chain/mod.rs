//! `loadtest chain`: checks the metrics chain from the pods to the HPA, and names the first broken link.

mod diagnosis;
mod evidence;
mod links;
mod wait;

pub use self::{
    evidence::ChainOptions,
    links::{Diagnosis, LinkReport, LinkState},
    wait::wait_until_healthy,
};
