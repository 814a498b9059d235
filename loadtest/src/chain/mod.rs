//! `loadtest chain`: follows the metrics from the pods to the HPA, and names the first link that does not hold.

mod command;
mod diagnosis;
mod evidence;
mod links;

pub(crate) use self::command::render;
pub use self::{
    command::{ChainReport, run, wait_until_whole},
    evidence::ChainOptions,
    links::{Diagnosis, Link, LinkName, State},
};
