//! Line charts over time as SVG, with step lines, gaps for missing measurements, and event marks.
//!
//! The colours come from the style sheet of the page, which has a light and a dark mode.

use super::plot::{BOTTOM, LEFT, RIGHT, WIDTH, append, escape, ticks};

const HEIGHT: f64 = 230.0;
const TOP: f64 = 12.0;

/// A line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// The name in the legend.
    pub(crate) name: String,
    /// The CSS class, `c0` to `c5`.
    pub(crate) class: &'static str,
    /// Whether each value holds until the next one, like a number of replicas.
    pub(crate) steps: bool,
    /// Seconds and value; `None` is a gap.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// A vertical mark at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    /// Seconds.
    pub(crate) at: f64,
    /// The tooltip.
    pub(crate) title: String,
    pub(crate) warning: bool,
}

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
    pub(crate) marks: Vec<Mark>,
    /// The shaded period, in seconds.
    pub(crate) shaded: Option<(f64, f64)>,
}

impl Chart {
    /// Returns the chart as SVG. Escapes text from the cluster.
    pub(crate) fn svg(&self) -> String {
        let times = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().map(|(at, _)| *at));
        let (first, last) = times.fold((0.0_f64, 1.0_f64), |(first, last), at| {
            (first.min(at), last.max(at))
        });
        let values = self
            .lines
            .iter()
            .flat_map(|line| line.points.iter().filter_map(|(_, value)| *value));
        let scale = Scale {
            first,
            last,
            ticks: ticks(values.fold(0.0, f64::max)),
        };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escape(&format!("{} over time", self.title))
        );
        self.frame(&scale, &mut svg);
        for line in &self.lines {
            append(
                &mut svg,
                format_args!(
                    "<path class=\"line {}\" d=\"{}\"/>",
                    line.class,
                    path(line, &scale)
                ),
            );
        }
        svg + "</svg>"
    }

    fn frame(&self, scale: &Scale, svg: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        if let Some((from, to)) = self.shaded {
            let (x, width) = (scale.x(from), scale.x(to) - scale.x(from));
            let height = bottom - TOP;
            append(
                svg,
                format_args!(
                    "<rect class=\"shade\" x=\"{x:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
                ),
            );
        }
        for tick in &scale.ticks {
            let y = scale.y(*tick);
            append(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\"/>"
                ),
            );
            let text = engine::units::short(*tick);
            append(
                svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                    LEFT - 6.0,
                    y + 4.0
                ),
            );
        }
        for tick in ticks(scale.last).iter().filter(|tick| **tick <= scale.last) {
            let (x, y) = (scale.x(*tick), bottom + 16.0);
            let text = engine::units::short(*tick);
            append(
                svg,
                format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text} s</text>"),
            );
        }
        for mark in self.marks.iter().filter(|mark| mark.at <= scale.last) {
            let (x, class) = (
                scale.x(mark.at),
                if mark.warning { "mark warning" } else { "mark" },
            );
            let title = escape(&mark.title);
            append(
                svg,
                format_args!(
                    "<g class=\"{class}\"><title>{title}</title><line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\"/>\
                     <circle cx=\"{x:.1}\" cy=\"{TOP}\" r=\"4\"/></g>"
                ),
            );
        }
    }
}

struct Scale {
    first: f64,
    last: f64,
    ticks: Vec<f64>,
}

impl Scale {
    fn x(&self, at: f64) -> f64 {
        LEFT + (at - self.first) / (self.last - self.first) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let top = self.ticks.last().copied().unwrap_or(1.0);
        HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)
    }
}

fn path(line: &Line, scale: &Scale) -> String {
    let mut path = String::new();
    let mut previous: Option<f64> = None;
    for (at, value) in &line.points {
        let Some(value) = value else {
            previous = None;
            continue;
        };
        let (x, y) = (scale.x(*at), scale.y(*value));
        match previous {
            None => append(&mut path, format_args!("M{x:.1} {y:.1}")),
            Some(before) if line.steps => {
                append(&mut path, format_args!("L{x:.1} {before:.1}L{x:.1} {y:.1}"));
            }
            Some(_) => append(&mut path, format_args!("L{x:.1} {y:.1}")),
        }
        previous = Some(y);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, Option<f64>)>) -> Chart {
        let line = Line {
            name: "ready".to_owned(),
            class: "c0",
            steps: true,
            points,
        };
        let mark = Mark {
            at: 5.0,
            title: "<script>alert(\"x\")</script>".to_owned(),
            warning: false,
        };
        Chart {
            title: "Replicas",
            unit: "",
            lines: vec![line],
            marks: vec![mark],
            shaded: Some((2.0, 8.0)),
        }
    }

    #[test]
    fn a_gap_breaks_the_line_and_a_step_is_horizontal_first() {
        let svg = chart(vec![
            (0.0, Some(2.0)),
            (1.0, Some(8.0)),
            (2.0, None),
            (10.0, Some(8.0)),
        ])
        .svg();
        let path = svg
            .split("d=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap()
            .to_owned();
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert_eq!(path.matches('L').count(), 2, "{path}");
    }

    #[test]
    fn a_chart_without_points_is_valid() {
        let svg = chart(Vec::new()).svg();
        assert!(
            svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"),
            "{svg}"
        );
    }

    #[test]
    fn text_from_the_cluster_is_escaped() {
        let svg = chart(vec![(0.0, Some(1.0)), (10.0, Some(1.0))]).svg();
        assert!(svg.contains("&lt;script") && !svg.contains("<script"), "{svg}");
    }
}
