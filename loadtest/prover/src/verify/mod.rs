//! `loadtest verify`: the tests of the stages of the delivery, each with a deadline. A test returns what it saw; this module
//! prints nothing.

mod apply;
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

pub use self::{
    apply::{ApplyOptions, apply},
    outcome::{Figure, Judgement, Outcome, TestStatus},
    proof::{ResponseTimeBounds, nodes_scale, pods_scale, response_time},
    readings::{DURATION_METRIC, Reader, Reading},
    report::{Verification, VerifyConfig, VerifyReport, VerifyVerdict},
    requests::{Authorization, Check, Client, ExpectedBody, hello, jobs, urls, wire_contract},
    settle::{SettleOptions, settle},
    shift::{Shift, median},
    spread::{RegionCluster, SpreadOptions, spread},
    stage::{DeliveryStage, Test},
    token::Token,
    windows::{Compared, Comparison, HpaSecond, Replicas, Second, Tolerance, compare},
};
