//! The stages of a shutdown.

/// The stage of the process. It only advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Normal operation.
    Serving,
    /// Still accepting connections, but each response asks its client to use another connection.
    Leaving,
    /// No longer accepting connections. Requests in flight are completed.
    Draining,
}
