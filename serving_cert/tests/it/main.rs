//! Tests of the certificate, the bundle, the rounds of the sidecar, and the command line.

mod certificate;
mod command_line;
mod publish;
mod sidecar;
mod support;
