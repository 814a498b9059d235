//! `loadtest compare`: what changed between two runs, as far as it can be told from chance.

mod command;
mod estimate;
mod run;

pub(crate) use self::command::Comparison;
pub use self::command::run;
