//! The export of spans to an OpenTelemetry collector: OTLP over HTTP, in batches, from a thread of its own.
//!
//! The export never blocks a request. A span that does not fit into the queue, or that the collector does not accept, is
//! dropped and counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter as Exporter, SpanProcessor,
};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::runtime::Handle;

use crate::config::{ServiceConfig, TraceConfig, TraceSampler};
use crate::log_limit::LogLimit;
use crate::metrics::register;

use super::tracer::Tracer;

/// The spans that wait for the collector, including those of the batch that is being sent.
const MAX_QUEUED: usize = 2048;

/// How long a shutdown waits for the collector.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// The export of the spans of one service.
#[derive(Debug)]
pub struct Export(Option<SdkTracerProvider>);

impl Export {
    /// Starts the export, if the configuration has an endpoint, and registers its metrics. Call it within a runtime.
    ///
    /// # Errors
    /// If the client of the collector cannot be created.
    pub fn start(config: &ServiceConfig, service: &str, version: &str, registry: &Registry) -> Result<Self> {
        let Some(endpoint) = &config.trace.endpoint else {
            return Ok(Self(None));
        };
        let url = endpoint.traces();
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&url)
            .build()
            .context("creating the client of the OpenTelemetry collector")?;
        let queued = Arc::new(AtomicUsize::new(0));
        let metrics = SpanMetrics::new(registry);
        let exporter = ObservedExporter {
            inner: exporter,
            url,
            queued: Arc::clone(&queued),
            metrics: metrics.clone(),
            log_limit: Box::leak(Box::default()),
            runtime: Handle::current(),
        };
        let batch = BatchConfigBuilder::default().with_max_queue_size(MAX_QUEUED);
        let processor = BoundedProcessor {
            inner: BatchSpanProcessor::new(exporter, batch.build()),
            queued,
            queue_full: metrics.dropped.with_label_values(&[QUEUE_FULL]),
        };
        let name = config.trace.service_name.as_deref().unwrap_or(service);
        // Also reads OTEL_RESOURCE_ATTRIBUTES.
        let resource = Resource::builder()
            .with_service_name(name.to_owned())
            .with_attributes([
                KeyValue::new("service.version", version.to_owned()),
                KeyValue::new("service.instance.id", config.instance_name()),
            ]);
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler(&config.trace))
            .with_resource(resource.build())
            .with_span_processor(processor)
            .build();
        Ok(Self(Some(provider)))
    }

    /// Returns a tracer whose spans this exports. Each call leaks the tracer.
    #[must_use]
    pub fn tracer(&self) -> Tracer {
        match &self.0 {
            Some(provider) => Tracer::new(Box::leak(Box::new(provider.tracer(env!("CARGO_PKG_NAME"))))),
            None => Tracer::OFF,
        }
    }

    /// Exports the spans that are still in the queue, for at most 2 s. Later spans are not exported.
    pub async fn flush(self) {
        let Some(provider) = self.0 else {
            return;
        };
        let flush = move || provider.shutdown_with_timeout(FLUSH_LIMIT);
        if let Ok(Err(error)) = tokio::task::spawn_blocking(flush).await {
            tracing::warn!(error = %error, "the last spans were not exported");
        }
    }
}

fn sampler(config: &TraceConfig) -> Sampler {
    // The default of OpenTelemetry.
    let ratio = Sampler::TraceIdRatioBased(config.ratio.unwrap_or(1.0));
    match config.sampler {
        TraceSampler::AlwaysOn => Sampler::AlwaysOn,
        TraceSampler::AlwaysOff => Sampler::AlwaysOff,
        TraceSampler::Traceidratio => ratio,
        TraceSampler::ParentbasedAlwaysOn => Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
        TraceSampler::ParentbasedAlwaysOff => Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
        TraceSampler::ParentbasedTraceidratio => Sampler::ParentBased(Box::new(ratio)),
    }
}

const QUEUE_FULL: &str = "queue_full";
const EXPORT_FAILED: &str = "export_failed";

#[derive(Debug, Clone)]
struct SpanMetrics {
    /// Spans that the collector accepted
    exported: IntCounter,
    /// Spans that were dropped, by reason
    dropped: IntCounterVec,
}

impl SpanMetrics {
    /// Registers the metrics. Each counter starts at 0.
    fn new(registry: &Registry) -> Self {
        let exported = IntCounter::new("trace_spans_exported_total", "Spans that the collector accepted");
        let dropped = Opts::new("trace_spans_dropped_total", "Spans that were dropped, by reason");
        let metrics = Self {
            exported: register(registry, exported),
            dropped: register(registry, IntCounterVec::new(dropped, &["reason"])),
        };
        for reason in [QUEUE_FULL, EXPORT_FAILED] {
            metrics.dropped.with_label_values(&[reason]);
        }
        metrics
    }
}

/// Bounds the queue, and counts the spans that do not fit. The inner processor has a queue of the same size, but does
/// not report what it drops.
#[derive(Debug)]
struct BoundedProcessor {
    inner: BatchSpanProcessor,
    queued: Arc<AtomicUsize>,
    queue_full: IntCounter,
}

impl SpanProcessor for BoundedProcessor {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.queued.fetch_add(1, Ordering::Relaxed) < MAX_QUEUED {
            self.inner.on_end(span);
        } else {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            self.queue_full.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Counts the exported spans, and logs failures.
#[derive(Debug)]
struct ObservedExporter {
    inner: SpanExporter,
    url: String,
    queued: Arc<AtomicUsize>,
    metrics: SpanMetrics,
    log_limit: &'static LogLimit,
    /// [`LogLimit`] needs a runtime, but the export runs in a thread outside of it.
    runtime: Handle,
}

impl Exporter for ObservedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.inner.export(batch).await;
        self.queued.fetch_sub(count, Ordering::Relaxed);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        match &result {
            Ok(()) => self.metrics.exported.inc_by(count),
            Err(error) => {
                self.metrics
                    .dropped
                    .with_label_values(&[EXPORT_FAILED])
                    .inc_by(count);
                let cause = error.to_string();
                let _runtime = self.runtime.enter();
                if self.log_limit.admits(&cause) {
                    tracing::warn!(
                        error = cause,
                        collector.url = self.url,
                        trace.spans_dropped = count,
                        "cannot export spans: check OTEL_EXPORTER_OTLP_ENDPOINT and the collector"
                    );
                }
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
