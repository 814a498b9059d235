//! Heat maps as SVG: the number of requests by latency and time.

use engine::units::{self, short};

use super::plot::{BOTTOM, LEFT, RIGHT, WIDTH, append};

/// The height of a row, in SVG units.
const ROW: f64 = 16.0;

/// The space above the map, in SVG units, for the upper half of the first row's label.
const TOP: f64 = 8.0;

/// The maximum number of columns. More columns would be too narrow to distinguish.
const MAX_COLUMNS: usize = 240;

/// Returns the heat map as SVG.
///
/// Each item of `seconds` contains the counts of one second. A count is a pair: the upper bound of a row, in
/// milliseconds, and the number of requests in that row.
pub(crate) fn svg<'a>(seconds: impl ExactSizeIterator<Item = &'a [(f64, u64)]>) -> String {
    let length = seconds.len();
    let per_column = length.div_ceil(MAX_COLUMNS).max(1);
    let mut rows: Vec<f64> = Vec::new();
    let mut columns: Vec<Vec<(f64, u64)>> = vec![Vec::new(); length.div_ceil(per_column)];
    for (second, counts) in seconds.enumerate() {
        for (up_to, count) in counts {
            if let Err(index) = rows.binary_search_by(|row| row.total_cmp(up_to)) {
                rows.insert(index, *up_to);
            }
            let column = &mut columns[second / per_column];
            match column.iter_mut().find(|(row, _)| row.total_cmp(up_to).is_eq()) {
                Some((_, sum)) => *sum += count,
                None => column.push((*up_to, *count)),
            }
        }
    }
    let max_count = columns
        .iter()
        .flatten()
        .map(|(_, count)| *count)
        .max()
        .unwrap_or(1);
    let height = ROW * number(rows.len()) + BOTTOM;
    let width = (WIDTH - LEFT - RIGHT) / number(columns.len()).max(1.0);
    let mut svg = format!(
        "<svg viewBox=\"0 -{TOP} {WIDTH} {}\" role=\"img\" aria-label=\"latencies over time, as a heat map\">",
        height + TOP
    );
    let top_of = |row: f64| {
        let index = rows
            .iter()
            .position(|other| other.total_cmp(&row).is_eq())
            .unwrap_or_default();
        ROW * number(rows.len() - 1 - index)
    };
    for row in &rows {
        let y = top_of(*row) + 4.0;
        append(
            &mut svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 6.0,
                short(*row)
            ),
        );
    }
    for (position, column) in columns.iter().enumerate() {
        let (x, from) = (LEFT + width * number(position), position * per_column);
        for (up_to, count) in column {
            // Logarithmic, so that one slow request among a thousand remains visible.
            let opacity = 0.15 + 0.85 * units::to_f64(*count).ln_1p() / units::to_f64(max_count).ln_1p();
            let y = top_of(*up_to);
            append(
                &mut svg,
                format_args!(
                    "<rect class=\"heat\" x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{ROW}\" fill-opacity=\"{opacity:.2}\">\
                     <title>from {from} s: {count} up to {} ms</title></rect>",
                    short(*up_to)
                ),
            );
        }
    }
    let y = height - BOTTOM + 16.0;
    for (second, anchor) in [(0, "start"), (length, "end")] {
        let x = LEFT + width * number(second) / number(per_column);
        let x = x.min(WIDTH - RIGHT);
        append(
            &mut svg,
            format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{second} s</text>"),
        );
    }
    svg + "</svg>"
}

fn number(count: usize) -> f64 {
    units::to_f64(count as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_request_has_its_own_row_above_the_fast_ones() {
        let seconds: [&[(f64, u64)]; 3] = [&[(1.0, 99)], &[(1.0, 98), (500.0, 1)], &[]];
        let svg = svg(seconds.into_iter());
        assert_eq!(svg.matches("<rect").count(), 3, "{svg}");
        let slow = svg
            .split("<rect")
            .find(|part| part.contains("1 up to 500 ms"))
            .unwrap();
        assert!(slow.contains("y=\"0.0\"") && slow.contains("from 1 s"), "{slow}");
    }

    #[test]
    fn an_hour_has_240_columns() {
        let second: &[(f64, u64)] = &[(1.0, 10)];
        let svg = svg(vec![second; 3600].into_iter());
        assert_eq!(svg.matches("<rect").count(), 240);
        assert!(svg.contains("150 up to 1 ms"), "each column contains 15 seconds");
    }

    #[test]
    fn a_map_without_seconds_is_valid() {
        let svg = svg(std::iter::empty::<&[(f64, u64)]>());
        assert!(
            svg.starts_with("<svg") && svg.ends_with("</svg>") && !svg.contains("NaN"),
            "{svg}"
        );
    }
}
