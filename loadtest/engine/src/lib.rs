//! The open-loop load generator.
//!
//! The generator sends each request when the schedule says so, however slow the server is. Every latency counts from
//! this intended start.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod arrivals;
mod bad_configuration;
pub mod capacity;
pub mod compare;
mod connection_pool;
mod content;
mod counts;
mod dialer;
mod exchange;
mod failure;
mod fetch;
mod histogram;
mod host;
mod http1_pool;
mod http2_pool;
mod interrupt;
mod intervals;
mod load;
mod merge;
mod mix;
mod network;
mod plan;
mod probe;
mod record;
mod report;
mod report_builder;
mod schedule;
mod segment;
mod slowest;
mod stripe;
mod stripe_result;
mod summary;
mod target;
mod target_filter;
mod threshold;
mod timer;
mod tls;
pub mod units;
mod verdict;
mod warm_up;

pub use tokio_rustls::rustls::pki_types::ServerName;

pub use self::{
    arrivals::{Arrival, Arrivals, MAX_STRIPES, Stripe},
    bad_configuration::BadConfiguration,
    content::Content,
    counts::Counts,
    failure::FailureKind,
    fetch::{Fetched, NoResponse, fetch},
    interrupt::Interrupt,
    load::{Load, Snapshot},
    merge::{CollectedStripe, merge},
    mix::{Mix, Protocol},
    network::{Network, Resolve},
    plan::Plan,
    probe::{Addresses, Unreachable, probe},
    report::{
        Connections, EarlyEnd, IntervalReport, LoadReport, PlanReport, Rates, StageReport, StripeReport,
        TargetReport,
    },
    schedule::{Schedule, Spacing},
    segment::Segment,
    slowest::SlowRequest,
    stripe_result::{SharedLoad, StripeResult},
    summary::{Latencies, Summary},
    target::{BadTarget, Expectations, Origin, Target, parse_header, parse_method},
    threshold::{Threshold, ThresholdReport},
    tls::{BadTls, ClientCertificate, Tls},
    verdict::{Bounds, Outcome, Verdict},
    warm_up::WarmUp,
};
