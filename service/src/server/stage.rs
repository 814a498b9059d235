//! The stages of a shutdown.

/// The stage of the process. It only advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Normal operation.
    Serving,
    /// Still accepting connections for the drain delay. Each response asks its client to use another connection.
    DrainDelay,
    /// No longer accepting connections. Requests in flight are completed.
    Draining,
    /// The drain deadline is over. Every connection closes.
    Deadline,
}
