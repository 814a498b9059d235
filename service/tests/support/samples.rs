//! What a registry says. Included by the tests of all three crates.

use std::str::FromStr;

use prometheus::Registry;

/// The value of a series, `name{labels}` as it is written in the text format; nothing if it does not exist.
pub(crate) fn sample<T: FromStr>(registry: &Registry, series: &str) -> Option<T> {
    service::metrics::text(registry)
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}
