//! `loadtest scale --nodes`: records how nodes come and go with the load, and judges it.

mod events;
mod moment;
mod plan;
mod record;
mod recorder;
mod served;
mod settled;
mod verdict;

pub use self::{
    plan::{AutoscalerKind, NodesPlan, plan_nodes},
    record::{NodeCount, NodeLife, NodesRecord, PodPlacement},
    served::ServedByNode,
};
pub(super) use self::{recorder::NodeRecorder, served::served_by_node, verdict::assess_nodes};
