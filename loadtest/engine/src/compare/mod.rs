//! `loadtest compare`: what changed between two runs, or several of each, as far as it can be told from chance.

mod estimate;
mod numbers;
mod repeats;
mod run;
#[cfg(test)]
mod simulation;

pub use self::{
    estimate::Estimate,
    numbers::{Change, RunMetrics, Row, compare},
    run::Run,
};
