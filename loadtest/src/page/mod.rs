//! What the pages of the reports are made of: plots, and numbers as text. Nothing in a page is fetched.

mod chart;
mod drawn;
mod gantt;
mod heat;
mod plot;
mod run;
mod scale;

pub use self::{run::render as render_run, scale::render as render_scale};
