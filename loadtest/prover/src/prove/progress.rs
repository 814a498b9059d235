//! The progress that a run reports to its caller.

use super::timeline::{EventMark, Sample};

/// One progress message of a run, for a live display.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// A new sample of the cluster and the load.
    Sample(&'a Sample),
    /// A new event of the cluster.
    Event(&'a EventMark),
    /// The user stopped the run, which now waits for the requests in flight.
    Stopping,
}
