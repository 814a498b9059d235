//! `loadtest compare`: finds the differences between two runs, or between several runs per side, that chance does not
//! explain.

mod estimate;
mod numbers;
mod repeats;
mod run;
#[cfg(test)]
mod simulation;

pub use self::{
    estimate::Estimate,
    numbers::{Change, Row, RunMetrics, compare},
    run::Run,
};
