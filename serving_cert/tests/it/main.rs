//! The certificate, the bundle, the sidecar's rounds, and the command line.

mod certificate;
mod command_line;
mod publish;
mod sidecar;
mod support;
