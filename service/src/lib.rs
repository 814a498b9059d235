//! The code that `app_a`, `app_b` and `serving-cert` share: configuration, telemetry, metrics, middleware, readiness,
//! and the server with its shutdown. This crate defines no public route.

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
