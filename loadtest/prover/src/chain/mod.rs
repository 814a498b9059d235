//! `loadtest chain`: follows the metrics from the pods to the HPA, and names the first link that does not hold.

mod diagnosis;
mod evidence;
mod links;
mod wait;

pub use self::{
    evidence::ChainOptions,
    links::{Diagnosis, LinkReport, LinkState},
    wait::wait_until_healthy,
};
