//! The flags of `loadtest scale` about nodes.

use std::time::Duration;

use clap::Args;
use engine::units::parse_duration;

use crate::options::NodesOptions;

/// The flags about nodes.
#[derive(Debug, Args)]
pub struct NodesArguments {
    /// Also prove that new nodes come for the pods, in several zones, and go after the load; needs Karpenter or
    /// cluster-autoscaler
    #[arg(long, help_heading = "Nodes")]
    pub nodes: bool,

    /// Zones that the new nodes must be in (default: 2 if the labels of the nodes or Karpenter's pools name several, otherwise 1)
    #[arg(long, value_name = "NUMBER", requires = "nodes", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Nodes")]
    pub zones: Option<u16>,

    /// Largest allowed difference in ready nodes between two zones at the end of the step (default: any)
    #[arg(long, value_name = "NUMBER", requires = "nodes", help_heading = "Nodes")]
    pub max_zone_skew: Option<u16>,

    /// Time limit for the return to the number of nodes from before the load, after the pods (default: the time for which
    /// the node autoscaler keeps a node that is not needed + 10m)
    #[arg(long, value_name = "DURATION", requires = "nodes", value_parser = parse_duration, help_heading = "Nodes")]
    pub nodes_deadline: Option<Duration>,
}

impl NodesArguments {
    /// Returns the options; `None` without `--nodes`.
    #[must_use]
    pub fn options(&self) -> Option<NodesOptions> {
        self.nodes.then(|| NodesOptions {
            zones: self.zones.map(usize::from),
            max_skew: self.max_zone_skew.map(usize::from),
            deadline: self.nodes_deadline,
        })
    }
}
