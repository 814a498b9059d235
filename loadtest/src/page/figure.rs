//! Charts with legends and number cells for the page templates.

use engine::{Summary, units::short};

use super::chart::Chart;

/// A rendered chart with its legend.
pub(crate) struct Figure {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    /// CSS class and name of each line.
    pub(crate) legend: Vec<(&'static str, String)>,
    pub(crate) svg: String,
}

impl From<Chart> for Figure {
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

/// Returns the table cells of a summary: mean, p50, p90, p95, p99, p99.9 and max, in the unit of the summary.
pub(crate) fn summary_cells(summary: &Summary) -> Vec<String> {
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

/// Formats a count and its percentage of the total.
pub(crate) fn count_and_percentage(count: Option<f64>, total: f64) -> String {
    match count {
        None => "-".to_owned(),
        Some(count) if total > 0.0 => format!("{count:.0} ({:.1} %)", count / total * 100.0),
        Some(count) => format!("{count:.0}"),
    }
}
