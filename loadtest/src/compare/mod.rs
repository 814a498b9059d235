//! `loadtest compare`: what changed between two runs, or several of each, as far as it can be told from chance.

mod command;
mod estimate;
mod numbers;
mod repeats;
mod run;
#[cfg(test)]
mod simulation;

pub(crate) use self::command::Comparison;
pub use self::command::run;
