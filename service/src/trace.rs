//! Distributed traces: the place of each request in its trace (W3C Trace Context, level 1), and the export of spans to an
//! OpenTelemetry collector. Without export, a span consists of its ids only.

mod context;
mod export;
mod tracer;

pub use context::{TRACEPARENT, TRACESTATE, TraceContext};
pub use export::Export;
pub use opentelemetry::KeyValue;
pub use tracer::{Span, Tracer};
