//! The settings of the trace export, with the names that OpenTelemetry specifies. The export is off without an
//! endpoint.

use axum::http::Uri;
use clap::{Args, ValueEnum};

use super::report::Invalid;

/// The settings of the trace export (OpenTelemetry, "Environment Variable Specification").
#[derive(Debug, Clone, Args)]
pub struct TraceConfig {
    /// URL of an OpenTelemetry collector that accepts OTLP over HTTP, such as `http://collector:4318`. Without it, no
    /// trace is exported
    #[arg(long = "otel-exporter-otlp-endpoint", env = "OTEL_EXPORTER_OTLP_ENDPOINT", id = "otel_exporter_otlp_endpoint",
          value_name = "URL", hide_env_values = true, value_parser = endpoint)]
    pub endpoint: Option<Endpoint>,

    /// The name of this service in the traces; defaults to the name of the program
    #[arg(
        long = "otel-service-name",
        env = "OTEL_SERVICE_NAME",
        id = "otel_service_name",
        value_name = "NAME"
    )]
    pub service_name: Option<String>,

    /// Which traces are exported
    #[arg(
        long = "otel-traces-sampler",
        env = "OTEL_TRACES_SAMPLER",
        id = "otel_traces_sampler",
        value_enum,
        default_value = "parentbased_always_on"
    )]
    pub sampler: TraceSampler,

    /// The share of traces that a sampler with a ratio exports, from 0 to 1
    #[arg(long = "otel-traces-sampler-arg", env = "OTEL_TRACES_SAMPLER_ARG", id = "otel_traces_sampler_arg",
          value_name = "RATIO", value_parser = ratio)]
    pub ratio: Option<f64>,
}

impl TraceConfig {
    /// Checks the values against each other.
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.ratio.is_some() && !self.sampler.has_ratio() {
            let accepted = "a value only if OTEL_TRACES_SAMPLER is traceidratio or parentbased_traceidratio";
            return Err(Invalid::new("OTEL_TRACES_SAMPLER_ARG", accepted));
        }
        Ok(())
    }
}

/// The samplers that OpenTelemetry specifies. With `parentbased_`, the sampled flag of the caller's `traceparent`
/// decides, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum TraceSampler {
    /// Every trace.
    AlwaysOn,
    /// No trace.
    AlwaysOff,
    /// A share of the traces.
    Traceidratio,
    /// The decision of the caller, otherwise every trace.
    ParentbasedAlwaysOn,
    /// The decision of the caller, otherwise no trace.
    ParentbasedAlwaysOff,
    /// The decision of the caller, otherwise a share of the traces.
    ParentbasedTraceidratio,
}

impl TraceSampler {
    fn has_ratio(self) -> bool {
        matches!(self, Self::Traceidratio | Self::ParentbasedTraceidratio)
    }
}

/// The URL of a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(String);

impl Endpoint {
    /// The URL to which traces are sent: the URL of the collector and `/v1/traces` (OTLP Specification, "OTLP/HTTP Request").
    #[must_use]
    pub fn traces(&self) -> String {
        format!("{}/v1/traces", self.0.trim_end_matches('/'))
    }
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    // Without TLS, so that the images stay small. A collector usually runs in the cluster or beside the service.
    let accepted = || {
        "a URL of scheme http without user, password and query, such as http://collector:4318 (not https)"
            .to_owned()
    };
    let url: Uri = text.parse().map_err(|_| accepted())?;
    let is_plain = url.query().is_none()
        && url
            .authority()
            .is_some_and(|authority| !authority.as_str().contains('@'));
    if url.scheme_str() == Some("http") && is_plain {
        Ok(Endpoint(text.to_owned()))
    } else {
        Err(accepted())
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    let ratio: Option<f64> = text.parse().ok();
    ratio
        .filter(|ratio| (0.0..=1.0).contains(ratio))
        .ok_or_else(|| "a number from 0 to 1 such as 0.1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_sent_below_the_path_of_the_endpoint() {
        for (text, traces) in [
            ("http://collector:4318", "http://collector:4318/v1/traces"),
            ("http://collector:4318/", "http://collector:4318/v1/traces"),
            ("http://[::1]:4318/otlp/", "http://[::1]:4318/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(text).unwrap().traces(), traces);
        }
    }

    #[test]
    fn other_urls_are_rejected_with_the_accepted_form() {
        for text in [
            "",
            "collector:4318",
            "https://collector:4318",
            "http://user:secret@collector:4318",
            "http://collector:4318?token=secret",
        ] {
            let accepted = endpoint(text).unwrap_err();
            assert!(accepted.contains("http://collector:4318"), "{text}: {accepted}");
        }
    }
}
