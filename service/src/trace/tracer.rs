//! Starts spans: one for each request, and one for each call to another service.

use axum::http::{HeaderMap, StatusCode};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;

use super::context::{TRACESTATE, TraceContext};

/// Starts spans. It is cheap to copy: the middleware and the clients each have one.
#[derive(Debug, Clone, Copy)]
pub struct Tracer(Option<&'static SdkTracer>);

/// A span in progress. With export, dropping it ends and exports it.
#[derive(Debug)]
pub struct Span {
    context: TraceContext,
    /// Boxed, because it is large and exists only with export.
    exported: Option<Box<opentelemetry_sdk::trace::Span>>,
}

impl Tracer {
    /// Starts spans that are not exported.
    pub const OFF: Self = Self(None);

    /// Starts spans that are exported.
    pub(super) fn new(tracer: &'static SdkTracer) -> Self {
        Self(Some(tracer))
    }

    /// Starts the span of a request with these headers.
    pub(crate) fn request(self, headers: &HeaderMap, method: &'static str, route: &'static str) -> Span {
        let caller = TraceContext::of_caller(headers);
        let context = caller.map_or_else(TraceContext::root, TraceContext::child);
        let exported = self.0.map(|tracer| {
            let parent = caller.map(|caller| parent(caller, true, state(headers)));
            let builder = SpanBuilder::from_name(format!("{method} {route}"))
                .with_kind(SpanKind::Server)
                .with_attributes([
                    KeyValue::new("http.request.method", method),
                    KeyValue::new("http.route", route),
                ]);
            start(tracer, builder, parent)
        });
        Span::new(context, exported)
    }

    /// Starts the span of a call to another service, below the span of the current request. `attributes` describe the call
    /// by the semantic conventions of OpenTelemetry.
    pub fn call(self, name: &'static str, attributes: impl FnOnce() -> Vec<KeyValue>) -> Span {
        let request = TraceContext::current();
        let exported = self.0.map(|tracer| {
            let parent = parent(request, false, TraceState::NONE);
            let builder = SpanBuilder::from_name(name)
                .with_kind(SpanKind::Client)
                .with_attributes(attributes());
            start(tracer, builder, Some(parent))
        });
        Span::new(request.child(), exported)
    }
}

impl Span {
    fn new(context: TraceContext, exported: Option<opentelemetry_sdk::trace::Span>) -> Self {
        let ids = exported
            .as_ref()
            .map(opentelemetry::trace::Span::span_context)
            .filter(|ids| ids.is_valid());
        let context = ids.map_or(context, |ids| {
            context.exported(
                u128::from_be_bytes(ids.trace_id().to_bytes()),
                u64::from_be_bytes(ids.span_id().to_bytes()),
                ids.is_sampled(),
            )
        });
        Self {
            context,
            exported: exported.map(Box::new),
        }
    }

    /// The ids of the span.
    #[must_use]
    pub fn context(&self) -> TraceContext {
        self.context
    }

    /// Ends the span of a request with the status of its response.
    pub(crate) fn respond(self, status: StatusCode) {
        let Some(mut span) = self.exported else {
            return;
        };
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        ));
        // A status 4xx is the fault of the client (Semantic Conventions for HTTP Spans).
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
    }

    /// Records that the call failed. `error_type` names the kind of failure.
    pub fn fail(&mut self, error_type: &'static str) {
        if let Some(span) = &mut self.exported {
            span.set_attribute(KeyValue::new("error.type", error_type));
            span.set_status(Status::error(""));
        }
    }
}

fn parent(context: TraceContext, is_remote: bool, state: TraceState) -> SpanContext {
    let (trace_id, span_id) = context.ids();
    let flags = TraceFlags::default().with_sampled(context.is_sampled());
    SpanContext::new(trace_id.into(), span_id.into(), flags, is_remote, state)
}

/// The `tracestate` of a request, to export it. An invalid one is left out of the export.
fn state(headers: &HeaderMap) -> TraceState {
    let values: Vec<_> = headers
        .get_all(TRACESTATE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    values.join(",").parse().unwrap_or_default()
}

fn start(
    tracer: &SdkTracer,
    builder: SpanBuilder,
    parent: Option<SpanContext>,
) -> opentelemetry_sdk::trace::Span {
    // An empty context: nothing in this program sets the context of the thread.
    let context = Context::new();
    let context = match parent {
        Some(parent) => context.with_remote_span_context(parent),
        None => context,
    };
    tracer.build_with_context(builder, &context)
}
