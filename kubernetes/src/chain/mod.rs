//! The strict check of this project's metrics chain. [`chain_check`] must check every link without a warning, every rule of the
//! adapter must select a series, and the sidecar must issue the certificate that the API server verifies.

pub mod broken_link;
mod rules;
mod sidecar;

use std::collections::BTreeSet;

use broken_link::BrokenLink;
use chain_check::{Input, adapter::Adapter, prometheus::Prometheus};
use serde_json::Value;
use wiring::diagnosis::{LinkReport, LinkState};

/// Follows the chain from the `/metrics` page of a fresh process to every HPA. Returns the links that are broken, not checked
/// or have a warning.
#[must_use]
pub fn check(metrics_text: &str, objects: &[Value]) -> Vec<BrokenLink> {
    let input = Input::new(objects.to_vec(), "default", Some(metrics_text));
    let links = chain_check::check(&input)
        .into_iter()
        .flat_map(|chain| chain.links);
    let mut broken: BTreeSet<BrokenLink> = links.flat_map(faults).collect();
    let found = (
        Prometheus::find(objects),
        Adapter::find(objects),
        &input.exposition,
    );
    if let (Ok(prometheus), Ok(adapter), Some(Ok(exposition))) = found {
        broken.extend(rules::check(objects, exposition, &prometheus, &adapter));
        if let Some(component) = &adapter.component {
            broken.extend(sidecar::check(objects, component));
        }
    }
    broken.into_iter().collect()
}

fn faults(report: LinkReport) -> Vec<BrokenLink> {
    let link = report.link;
    let warnings = report.warnings.into_iter();
    let mut faults: Vec<_> = warnings.map(|warning| BrokenLink::new(link, warning)).collect();
    if report.state != LinkState::Ok {
        faults.push(BrokenLink::new(link, report.detail));
    }
    faults
}
