//! Reads samples from a registry. The tests of `service`, `app_a` and `app_b` include this file.

use std::str::FromStr;

use prometheus::Registry;

/// Returns the value of a series. `series` is `name{labels}` as in the text format. `None` if the series does not
/// exist.
pub(crate) fn sample<T: FromStr>(registry: &Registry, series: &str) -> Option<T> {
    service::metrics::text(registry)
        .lines()
        .find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}
