//! The present time, as the API of Kubernetes writes it.

use jiff::{Timestamp, Unit};

/// The present time with microseconds (RFC 3339): the type `MicroTime` of Kubernetes.
pub(super) fn now() -> String {
    format!("{:.6}", Timestamp::now())
}

/// The present time in seconds (RFC 3339), for people.
pub(super) fn seconds() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

#[test]
fn the_times_have_the_formats_of_the_api() {
    assert_eq!(now().len(), "2026-01-01T00:00:00.000000Z".len(), "{}", now());
    assert_eq!(seconds().len(), "2026-01-01T00:00:00Z".len(), "{}", seconds());
}
