//! `loadtest scale`: sends a step of load that needs N replicas, and proves that the cluster scales to N and back.

mod active_load;
mod assertion;
mod breakdown;
mod drive;
mod estimate;
mod load_checks;
mod metric;
mod nodes;
mod observe;
mod plan;
mod progress;
mod report;
mod setup;
mod shares;
mod spread;
mod stage;
mod timeline;
mod trace;
mod traced_hpa;
mod tracer;
mod verdict;
mod watched_pods;

pub use self::{
    assertion::{Assertion, AssertionVerdict},
    breakdown::{PodPath, SYNC_PERIOD, StageTime, TimeToScale},
    drive::{Recording, drive},
    estimate::TimeEstimate,
    metric::ScalingMetric,
    nodes::{
        AutoscalerKind, NodeCount, NodeLife, NodesPlan, NodesRecord, PodPlacement, ServedByNode, plan_nodes,
    },
    observe::event_namespaces,
    plan::{Expected, check_tail, predict, safe_rate},
    progress::Progress,
    report::{ScaleConfig, ScaleReport, ScaleRun, ScaleVerdict},
    setup::Setup,
    shares::{PodShare, Shares},
    spread::{Spread, StageSpread, spread},
    stage::Stage,
    timeline::{Deadlines, EventMark, HpaSample, LoadSample, Marks, NodesSample, Phase, Sample, Timeline},
    trace::{Decision, MetricSample, PodTrace, TimeRange, Trace},
    verdict::{Measurements, assess},
};
