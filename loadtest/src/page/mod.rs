//! What the pages of the reports are made of: plots, and numbers as text. Nothing in a page is fetched.

pub(crate) mod chart;
pub(crate) mod heat;

use std::fmt::Write as _;

use self::chart::Chart;
use crate::{load::Summary, units::short};

/// The classes of lines, one for each colour of the pages.
pub(crate) const CLASSES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// The width of a plot in its own units, and the margins that its labels need; the page scales it.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const BOTTOM: f64 = 24.0;

fn add(svg: &mut String, part: std::fmt::Arguments<'_>) {
    svg.write_fmt(part).expect("writing to a String does not fail");
}

/// A plot with its legend.
pub(crate) struct Drawn {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) legend: Vec<(&'static str, String)>,
    pub(crate) svg: String,
}

impl From<Chart> for Drawn {
    fn from(chart: Chart) -> Self {
        let svg = chart.svg();
        let lines = chart.lines.into_iter();
        Self {
            title: chart.title,
            unit: chart.unit,
            legend: lines.map(|line| (line.class, line.name)).collect(),
            svg,
        }
    }
}

/// The row of a table.
pub(crate) fn numbers(summary: &Summary) -> Vec<String> {
    let Summary {
        mean,
        p50,
        p90,
        p95,
        p99,
        p999,
        max,
        ..
    } = *summary;
    [mean, p50, p90, p95, p99, p999, max]
        .map(|value| value.map_or("–".to_owned(), short))
        .into()
}
