//! `loadtest compare`: compares two runs, or two sides with several runs each, and finds the differences that chance does
//! not explain.

mod estimate;
mod load;
mod numbers;
mod repeats;
mod requests;
mod run;
#[cfg(test)]
mod simulation;
mod swaps;

pub use self::{
    estimate::Estimate,
    numbers::{Change, Row, RunMetrics, compare},
    run::Run,
};
