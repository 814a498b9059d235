//! The tests of a canary: one pod of a new release beside the stable pods. `canary-starts`, `canary-urls` and `canary-metrics` run before
//! any user's request reaches it, `canary-load` compares it with the stable pods under load.

mod again;
mod compared;
mod counters;
mod forward;
mod load;
mod metrics;
mod options;
mod proportion;
mod start;
mod urls;

pub use load::{CanaryProbe, canary_load};
pub use metrics::canary_metrics;
pub use options::{Canary, CanaryOptions};
pub use start::canary_starts;
pub use urls::canary_urls;
