//! The limit of open files, and the number of connections that fits below it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that connections never use: the listeners, standard output, epoll, probes and scrapes, and the database.
const RESERVED: usize = 48;

/// Raises the soft limit of open files to the hard limit.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    // A process may always do this (setrlimit(2)).
    setrlimit(Resource::Nofile, raised).ok();
}

/// Returns the number of connections that leaves enough files for everything else. It is at least 1.
///
/// Each request in flight may call another service, which needs a file, too.
pub(crate) fn max_connections(max_in_flight: usize) -> usize {
    // The hard limit: `raise_limit` makes it the soft one.
    let files = getrlimit(Resource::Nofile).maximum;
    let files = files.and_then(|files| usize::try_from(files).ok());
    connections_within(files, max_in_flight)
}

/// `None` means no limit.
fn connections_within(files: Option<usize>, max_in_flight: usize) -> usize {
    // The largest number that the semaphore of the listener accepts is far above this.
    const UNLIMITED: usize = 1_000_000;
    let files = files.unwrap_or(UNLIMITED).min(UNLIMITED);
    let free = files.saturating_sub(RESERVED);
    let calls = max_in_flight.min(free / 2);
    free.saturating_sub(calls).max(1)
}

#[cfg(test)]
mod tests {
    use super::connections_within;

    #[test]
    fn connections_leave_files_for_everything_else() {
        for (files, connections) in [
            (Some(0), 1),
            (Some(48), 1),
            (Some(64), 8),
            (Some(1024), 488),
            (Some(20_000), 18_928),
            (Some(1_048_576), 998_928),
            (None, 998_928),
        ] {
            assert_eq!(connections_within(files, 1024), connections, "{files:?}");
        }
    }
}
