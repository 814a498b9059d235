//! The code that `app_a`, `app_b` and `serving-cert` share: configuration, telemetry, metrics, middleware, readiness,
//! and the server with its shutdown. This crate defines no public route.
#![warn(clippy::print_stderr, clippy::print_stdout)]

mod admin;
pub mod config;
pub mod console;
pub mod healthcheck;
mod log_filter;
mod log_limit;
mod log_writer;
pub mod metrics;
pub mod middleware;
mod open_files;
pub mod readiness;
pub mod reload;
pub mod reply;
pub mod request_id;
pub mod runtime;
pub mod server;
mod telemetry;
pub mod trace;
