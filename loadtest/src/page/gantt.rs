//! Gantt charts as SVG: one bar per pod, divided into consecutive parts.

use engine::units::{short, to_f64};

use super::plot::{BOTTOM, CLASSES, LEFT, RIGHT, WIDTH, append, escape, ticks};

/// The height of a row, in SVG units.
const ROW: f64 = 22.0;

/// The width of a letter, in SVG units. A part shows its name only if the name fits.
const LETTER: f64 = 7.5;

/// A bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// The first part of the tooltip.
    pub(crate) name: String,
    /// The parts, in chronological order.
    pub(crate) parts: Vec<Part>,
}

/// A part of a bar; times in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// Returns the chart as SVG.
pub(crate) fn svg(bars: &[Bar]) -> String {
    let ends = bars.iter().flat_map(|bar| &bar.parts).map(|part| part.to);
    let end = ends.fold(1.0, f64::max);
    let bottom = ROW * to_f64(bars.len() as u64);
    let x = |at: f64| LEFT + at / end * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"scaling stages of each new pod, over time\">",
        bottom + BOTTOM
    );
    for (bar, row) in bars.iter().zip(0_u32..) {
        let top = ROW * f64::from(row);
        let (middle, height) = (top + ROW / 2.0 + 4.0, ROW - 4.0);
        append(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                row + 1
            ),
        );
        for (part, class) in bar.parts.iter().zip(CLASSES.iter().cycle()) {
            let (left, width) = (x(part.from), x(part.to) - x(part.from));
            let title = escape(&bar.name);
            let (name, from, to) = (part.name, time_text(part.from), time_text(part.to));
            append(
                &mut svg,
                format_args!(
                    "<rect class=\"bar {class}\" x=\"{left:.2}\" y=\"{top:.1}\" width=\"{width:.2}\" height=\"{height}\">\
                     <title>{title}: {name} {from} to {to} s</title></rect>"
                ),
            );
            if width > LETTER * to_f64(name.len() as u64) {
                append(
                    &mut svg,
                    format_args!(
                        "<text class=\"on-bar\" x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"middle\">{name}</text>",
                        left + width / 2.0
                    ),
                );
            }
        }
    }
    for tick in ticks(end).into_iter().filter(|tick| *tick <= end) {
        append(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} s</text>",
                x(tick),
                bottom + 16.0,
                short(tick)
            ),
        );
    }
    svg + "</svg>"
}

fn time_text(seconds: f64) -> String {
    format!("{seconds:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_wide_as_its_duration_and_shows_its_name_if_it_fits() {
        let part = |name, from, to| Part { name, from, to };
        let bar = |parts| Bar {
            name: "<pod>".to_owned(),
            parts,
        };
        let svg = svg(&[
            bar(vec![part("scraped", 0.0, 5.0), part("decided", 5.0, 5.1)]),
            bar(vec![part("scraped", 0.0, 10.0)]),
        ]);
        let width = (WIDTH - LEFT - RIGHT) / 2.0;
        assert!(svg.contains(&format!("width=\"{width:.2}\"")), "{svg}");
        assert!(
            svg.contains(">scraped</text>") && !svg.contains(">decided</text>"),
            "{svg}"
        );
        assert!(
            svg.contains("decided 5.00 to 5.10 s") && svg.contains("&lt;pod&gt;"),
            "{svg}"
        );
    }

    #[test]
    fn a_chart_without_bars_is_valid() {
        assert!(!svg(&[]).contains("NaN"));
    }
}
