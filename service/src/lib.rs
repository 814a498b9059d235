//! What `app_a` and `app_b` share: configuration, telemetry, metrics, middleware, health and the server with its
//! shutdown. Nothing in here knows a route.

pub mod admin;
pub mod config;
pub mod healthcheck;
pub mod metrics;
pub mod middleware;
pub mod readiness;
pub mod reply;
pub mod request_id;
pub mod runtime;
pub mod server;
pub mod telemetry;
