//! What a run tells its caller while it goes on.

use super::timeline::{EventMark, Sample};

/// A step of a run, for a live display.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A new sample of the cluster and the load.
    Sample(&'a Sample),
    /// A new event of the cluster.
    Event(&'a EventMark),
    /// The user stopped the run; it waits for the requests in flight.
    Stopping,
}
