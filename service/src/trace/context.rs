//! The place of a request in its trace, as the headers `traceparent` and `tracestate` state it (W3C Trace Context, level 1).

use std::cell::Cell;
use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header with the ids of the trace and of the caller's span.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The header with data of tracing systems. It is forwarded unchanged.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00, in bytes.
const LENGTH: usize = 55;

thread_local! {
    /// Set while the future of a request is polled. An extension of the request would need two allocations, and a task-local
    /// variable several times the instructions.
    static CURRENT: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Dropping it restores the previous context of the thread.
pub(crate) struct Entered(Option<TraceContext>);

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// One span of a trace: a request to this service, or a call to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    is_sampled: bool,
    /// Whether the trace comes from the caller. Only then its `tracestate` is forwarded.
    is_continued: bool,
}

impl TraceContext {
    /// The context of the request that the current task serves. Outside of a request, a new trace.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.get().unwrap_or_else(Self::root)
    }

    /// A span in a new trace. It is not sampled, because nothing records it.
    pub(super) fn root() -> Self {
        Self {
            // The ids are no secrets, so the generator need not be cryptographic. They must not be 0.
            trace_id: fastrand::u128(..).max(1),
            span_id: new_span_id(),
            is_sampled: false,
            is_continued: false,
        }
    }

    /// The span of the caller. `None` if the header is missing, invalid or repeated; a new trace starts then.
    pub(super) fn of_caller(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        parse(value.as_bytes())
    }

    /// A new span below this one.
    pub(super) fn child(self) -> Self {
        Self {
            span_id: new_span_id(),
            ..self
        }
    }

    /// The same place with the ids of an exported span.
    pub(super) fn exported(self, trace_id: u128, span_id: u64, is_sampled: bool) -> Self {
        Self {
            trace_id,
            span_id,
            is_sampled,
            ..self
        }
    }

    pub(super) fn ids(self) -> (u128, u64) {
        (self.trace_id, self.span_id)
    }

    pub(super) fn is_sampled(self) -> bool {
        self.is_sampled
    }

    /// The id of the trace, 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> impl fmt::Display {
        fmt::from_fn(move |formatter| write!(formatter, "{:032x}", self.trace_id))
    }

    /// The id of the span, 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(self) -> impl fmt::Display {
        fmt::from_fn(move |formatter| write!(formatter, "{:016x}", self.span_id))
    }

    /// Adds the headers for a call to another service: `traceparent` with this span as the parent, and the `tracestate` of
    /// the `request` that causes the call.
    pub fn forward(self, request: &HeaderMap, call: &mut HeaderMap) {
        call.insert(TRACEPARENT, self.traceparent());
        if self.is_continued {
            let states = request.get_all(TRACESTATE).iter();
            call.extend(states.map(|state| (TRACESTATE, state.clone())));
        }
    }

    fn traceparent(self) -> HeaderValue {
        let flags = u8::from(self.is_sampled);
        let value = format!("00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id);
        HeaderValue::try_from(value).expect("hexadecimal digits are valid in a header")
    }

    /// Makes this the current context of the thread, while it polls the future of a request.
    pub(crate) fn enter(self) -> Entered {
        Entered(CURRENT.replace(Some(self)))
    }
}

fn new_span_id() -> u64 {
    fastrand::u64(..).max(1)
}

/// Parses a `traceparent`: version, trace id, span id and flags, in lower-case hexadecimal digits with a dash between.
///
/// A version above 00 may add fields at the end. Version ff and ids of only zeros are invalid.
fn parse(value: &[u8]) -> Option<TraceContext> {
    let (fields, rest) = value.split_at_checked(LENGTH)?;
    let dashes = [fields[2], fields[35], fields[52]];
    let version = number(&fields[..2])?;
    let is_complete = match rest {
        [] => true,
        [b'-', ..] => version > 0,
        _ => false,
    };
    if dashes != *b"---" || version == 0xff || !is_complete {
        return None;
    }
    let trace_id = number(&fields[3..35])?;
    let span_id = u64::try_from(number(&fields[36..52])?).ok()?;
    let flags = number(&fields[53..])?;
    (trace_id != 0 && span_id != 0).then_some(TraceContext {
        trace_id,
        span_id,
        // Level 1 defines only this flag. The others must be 0 in outgoing headers.
        is_sampled: flags & 1 == 1,
        is_continued: true,
    })
}

/// Reads at most 32 lower-case hexadecimal digits.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const PARENT: &str = "00f067aa0ba902b7";

    fn headers(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| (TRACEPARENT, value.parse().unwrap()));
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(name, value);
        }
        headers
    }

    #[test]
    fn valid_headers_continue_the_trace() {
        for (value, is_sampled) in [
            (format!("00-{TRACE}-{PARENT}-00"), false),
            (format!("00-{TRACE}-{PARENT}-01"), true),
            // Unknown flags are ignored.
            (format!("00-{TRACE}-{PARENT}-02"), false),
            (format!("00-{TRACE}-{PARENT}-ff"), true),
            // A later version, with and without further fields.
            (format!("01-{TRACE}-{PARENT}-01"), true),
            (format!("cc-{TRACE}-{PARENT}-01-"), true),
            (format!("fe-{TRACE}-{PARENT}-00-what-the-future-adds"), false),
        ] {
            let context = TraceContext::of_caller(&headers(&[&value])).expect(&value);
            assert_eq!(context.trace_id().to_string(), TRACE, "{value}");
            assert_eq!(context.span_id().to_string(), PARENT, "{value}");
            assert_eq!(context.is_sampled, is_sampled, "{value}");
        }
    }

    #[test]
    fn invalid_headers_are_ignored() {
        for value in [
            String::new(),
            "00".to_owned(),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0g-{TRACE}-{PARENT}-01"),
            format!("+0-{TRACE}-{PARENT}-01"),
            format!("000-{TRACE}-{PARENT}-01"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("00-{TRACE}-{PARENT}-0A"),
            format!("00-{TRACE}-{PARENT}-1"),
            format!("00-{TRACE}-{PARENT}"),
            format!("00-{TRACE}-{PARENT}-01-"),
            format!("00-{TRACE}-{PARENT}-01-more"),
            format!("01-{TRACE}-{PARENT}-01more"),
            format!("00-{TRACE}_{PARENT}-01"),
            format!("00-{}-{PARENT}0-01", &TRACE[1..]),
        ] {
            assert_eq!(TraceContext::of_caller(&headers(&[&value])), None, "{value}");
        }
        let valid = format!("00-{TRACE}-{PARENT}-01");
        assert_eq!(TraceContext::of_caller(&headers(&[&valid, &valid])), None);
    }

    #[test]
    fn a_call_gets_a_new_parent_and_the_same_tracestate() {
        let mut request = headers(&[&format!("00-{TRACE}-{PARENT}-03")]);
        request.append(TRACESTATE, HeaderValue::from_static("rojo=00f067aa0ba902b7 ,"));
        request.append(TRACESTATE, HeaderValue::from_static("congo=t61rcWkgMzE"));
        let context = TraceContext::of_caller(&request).unwrap();
        let mut call = HeaderMap::new();
        context.child().forward(&request, &mut call);
        let forwarded = TraceContext::of_caller(&call).unwrap();
        assert_eq!(forwarded.trace_id, context.trace_id);
        assert_ne!(forwarded.span_id, context.span_id);
        assert!(call[TRACEPARENT].to_str().unwrap().ends_with("-01"));
        let states = |headers: &HeaderMap| headers.get_all(TRACESTATE).iter().cloned().collect::<Vec<_>>();
        assert_eq!(states(&call), states(&request));
    }

    #[test]
    fn a_new_trace_forwards_no_tracestate() {
        let mut request = HeaderMap::new();
        request.append(TRACESTATE, HeaderValue::from_static("congo=t61rcWkgMzE"));
        let mut call = HeaderMap::new();
        TraceContext::root().forward(&request, &mut call);
        assert!(TraceContext::of_caller(&call).is_some());
        assert!(!call.contains_key(TRACESTATE));
    }
}
