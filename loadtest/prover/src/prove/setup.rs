//! What a run is given.

use engine::{Addresses, Plan};

use super::{plan::Expected, timeline::Deadlines};
use crate::cluster::PrometheusService;

/// Everything that a run needs to know.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the HPAs are.
    pub namespace: String,
    /// What each must do.
    pub expected: Vec<Expected>,
    /// Where Prometheus is.
    pub prometheus: PrometheusService,
    /// The series that pods count requests in.
    pub series: String,
    /// The step.
    pub step: Plan,
    /// The load on the way down, if there is to be one.
    pub tail: Option<Plan>,
    /// Where both go.
    pub addresses: Addresses,
    /// The time for each phase.
    pub deadlines: Deadlines,
}
