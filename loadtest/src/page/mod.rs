//! The HTML reports. Each report is one file that loads nothing from the network.

mod chart;
mod figure;
mod gantt;
mod heat_map;
mod lanes;
mod nodes;
mod plot;
mod run;
mod scale;
mod scale_numbers;
mod verify;

pub use self::{run::render as render_run, scale::render as render_scale, verify::render as render_verify};
