//! What plots have in common: sizes, colours, ticks and escaping.

use std::fmt::Write as _;

/// The classes of lines, one for each colour of the pages.
pub(super) const CLASSES: [&str; 6] = ["c0", "c1", "c2", "c3", "c4", "c5"];

/// The width of a plot in its own units, and the margins that its labels need; the page scales it.
pub(super) const WIDTH: f64 = 760.0;
pub(super) const LEFT: f64 = 46.0;
pub(super) const RIGHT: f64 = 10.0;
pub(super) const BOTTOM: f64 = 24.0;

pub(super) fn add(svg: &mut String, part: std::fmt::Arguments<'_>) {
    svg.write_fmt(part).expect("writing to a String does not fail");
}

/// Four to eight round numbers from 0 to `most` or just above.
pub(super) fn ticks(most: f64) -> Vec<f64> {
    let most = if most > 0.0 { most } else { 1.0 };
    let magnitude = 10_f64.powf((most / 5.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0]
        .map(|factor| factor * magnitude)
        .into_iter()
        .find(|step| most / step <= 6.0);
    let step = step.unwrap_or(10.0 * magnitude);
    let mut ticks = vec![0.0];
    while ticks.last().is_some_and(|last| *last < most) {
        ticks.push(f64::from(u32::try_from(ticks.len()).unwrap_or(u32::MAX)) * step);
    }
    ticks
}

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
    fn ticks_are_few_and_round_and_reach_the_top() {
        for most in [0.0, 0.4, 1.0, 8.0, 12.0, 99.0, 392.0, 1e6] {
            let ticks = ticks(most);
            assert!(
                (2..=8).contains(&ticks.len()) && *ticks.last().unwrap() >= most,
                "{most}: {ticks:?}"
            );
        }
        assert_eq!(ticks(12.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
    }
}
