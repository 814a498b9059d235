//! `loadtest verify`: the tests of the stages of the delivery, each with a deadline. A test returns what it saw; this module
//! prints nothing.

mod apply;
mod canary;
mod outcome;
mod proof;
mod readings;
mod report;
mod requests;
mod settle;
mod shift;
mod spread;
mod stage;
mod token;
mod windows;
mod wire_contract;

pub use self::{
    apply::{ApplyOptions, apply},
    canary::{Canary, CanaryOptions, CanaryProbe, canary_load, canary_metrics, canary_starts, canary_urls},
    outcome::{Figure, Judgement, Outcome, TestStatus},
    proof::{ResponseTimeBounds, nodes_scale, pods_scale, response_time},
    readings::{DURATION_METRIC, Reader, Reading},
    report::{Verification, VerifyConfig, VerifyReport, VerifyVerdict},
    requests::{Authorization, Check, Client, ExpectedBody, urls},
    settle::{SettleOptions, settle},
    shift::{Shift, median},
    spread::{RegionCluster, SpreadOptions, spread},
    stage::{DeliveryStage, Test},
    token::Token,
    windows::{Compared, Comparison, HpaSecond, Replicas, Second, Tolerance, compare},
    wire_contract::{hello, jobs, wire_contract, wire_contract_of_app_b},
};
