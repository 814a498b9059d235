//! The parameters of a run.

use std::time::Duration;

use engine::{Addresses, Plan};

use super::{nodes::NodesPlan, plan::Expected, timeline::Deadlines};
use crate::cluster::PrometheusService;

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The namespace of the HPAs.
    pub namespace: String,
    /// The expected scaling of each HPA.
    pub expected: Vec<Expected>,
    /// The Service of Prometheus.
    pub prometheus: PrometheusService,
    /// The series in which the pods count their requests.
    pub series: String,
    /// The load of the step.
    pub step: Plan,
    /// The light load while scaling down; `None` for no load.
    pub tail: Option<Plan>,
    /// The addresses of the hosts of both loads.
    pub addresses: Addresses,
    /// The time between the idle cluster and the start of the load.
    pub start_wait: Duration,
    /// The deadline of each phase.
    pub deadlines: Deadlines,
    /// What the run expects of the nodes; `None` for a run that does not judge them.
    pub nodes: Option<NodesPlan>,
}
