//! What the pages show: a plot with its legend, and numbers as text.

use engine::{Summary, units::short};

use super::chart::Chart;

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
