//! Shared parts of the plots: sizes, colours, ticks and escaping.

use std::fmt::Write as _;

/// The CSS classes of the line colours in `templates/head.html`.
pub(super) const CLASSES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// The width of a plot and the margins for its labels, in SVG units. The page scales the plot.
pub(super) const WIDTH: f64 = 760.0;
pub(super) const LEFT: f64 = 46.0;
pub(super) const RIGHT: f64 = 10.0;
pub(super) const BOTTOM: f64 = 24.0;

/// Appends formatted text.
pub(super) fn append(svg: &mut String, part: std::fmt::Arguments<'_>) {
    svg.write_fmt(part).expect("writing to a String does not fail");
}

/// Returns two to eight equidistant round numbers. The first is 0, the last is `max` or just above.
pub(super) fn ticks(max: f64) -> Vec<f64> {
    let max = if max > 0.0 { max } else { 1.0 };
    let magnitude = 10_f64.powf((max / 5.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * magnitude)
        .into_iter()
        .find(|step| max / step <= 6.0);
    let step = step.unwrap_or(10.0 * magnitude);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < max) {
        ticks.push(f64::from(u32::try_from(ticks.len()).unwrap_or(u32::MAX)) * step);
    }
    ticks
}

/// Escapes text for HTML and SVG.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_few_and_round_and_reach_the_maximum() {
        for max in [0.0, 0.4, 1.0, 8.0, 12.0, 99.0, 392.0, 1e6] {
            let ticks = ticks(max);
            assert!(
                (2..=8).contains(&ticks.len()) && *ticks.last().unwrap() >= max,
                "{max}: {ticks:?}"
            );
        }
        assert_eq!(ticks(12.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    }
}
