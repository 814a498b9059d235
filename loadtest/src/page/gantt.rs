//! Bars over time, each of parts that follow one another.

use engine::units::{short, to_f64};

use super::plot::{BOTTOM, CLASSES, LEFT, RIGHT, WIDTH, add, escape, ticks};

const ROW: f64 = 22.0;

/// As wide as a part has to be for its name to fit into it, for each letter.
const LETTER: f64 = 7.5;

/// One bar.
#[derive(Clone, Debug)]
pub(crate) struct Bar {
    /// Shown when pointed at.
    pub(crate) name: String,
    /// In order.
    pub(crate) parts: Vec<Part>,
}

/// A part of a bar, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// The picture.
pub(crate) fn svg(bars: &[Bar]) -> String {
    let ends = bars.iter().flat_map(|bar| &bar.parts).map(|part| part.to);
    let most = ends.fold(1.0, f64::max);
    let bottom = ROW * to_f64(bars.len() as u64);
    let x = |at: f64| LEFT + at / most * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"the way to each new pod, over time\">",
        bottom + BOTTOM
    );
    for (bar, row) in bars.iter().zip(0_u32..) {
        let top = ROW * f64::from(row);
        let (middle, height) = (top + ROW / 2.0 + 4.0, ROW - 4.0);
        add(
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
            let (name, from, to) = (part.name, short_time(part.from), short_time(part.to));
            add(
                &mut svg,
                format_args!(
                    "<rect class=\"bar {class}\" x=\"{left:.2}\" y=\"{top:.1}\" width=\"{width:.2}\" height=\"{height}\">\
                     <title>{title}: {name} {from} to {to} s</title></rect>"
                ),
            );
            if width > LETTER * to_f64(name.len() as u64) {
                add(
                    &mut svg,
                    format_args!(
                        "<text class=\"on-bar\" x=\"{:.1}\" y=\"{middle:.1}\" text-anchor=\"middle\">{name}</text>",
                        left + width / 2.0
                    ),
                );
            }
        }
    }
    for tick in ticks(most).into_iter().filter(|tick| *tick <= most) {
        add(
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

fn short_time(seconds: f64) -> String {
    format!("{seconds:.2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_long_as_it_took_and_named_where_there_is_room() {
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
    fn a_picture_of_nothing_is_still_one() {
        assert!(!svg(&[]).contains("NaN"));
    }
}
