//! The parameters of the tests of canaries, and what these tests share.

use std::path::PathBuf;

use crate::verify::outcome::Judgement;

/// The name of the backend, whose wire contract is another one.
pub(super) const BACKEND: &str = "app-b";

/// A canary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canary {
    /// The Deployment whose next release it runs: `app-a` or `app-b`.
    pub deployment: String,
    /// The pod.
    pub pod: String,
}

/// The parameters of the tests of canaries.
#[derive(Clone, Debug)]
pub struct CanaryOptions {
    /// The canaries.
    pub canaries: Vec<Canary>,
    /// The namespace of the pair.
    pub namespace: String,
    /// The program kubectl, which forwards the ports of the pods.
    pub kubectl: PathBuf,
    /// The context of the kubeconfig; `None` for the current one.
    pub context: Option<String>,
    /// The series that counts requests.
    pub series: String,
    /// The largest average response time, in milliseconds.
    pub objective_ms: f64,
    /// The shortest time of `canary-load`, in seconds.
    pub window_seconds: usize,
    /// How much slower the average of a canary may be, as a share of that of the stable pods.
    pub tolerance: f64,
}

/// Combines the judgements of all canaries.
pub(super) fn combine(judged: Vec<(&Canary, Judgement)>) -> Judgement {
    let (mut failures, mut seen, mut figures) = (Vec::new(), Vec::new(), Vec::new());
    for (Canary { deployment, .. }, found) in judged {
        failures.extend(found.failure.map(|reason| format!("{deployment}: {reason}")));
        if !found.seen.is_empty() {
            seen.push(format!("{deployment}: {}", found.seen));
        }
        figures.extend(found.figures.into_iter().map(|mut figure| {
            figure.name = format!("{deployment}: {}", figure.name);
            figure
        }));
    }
    Judgement {
        failure: (!failures.is_empty()).then(|| failures.join("; ")),
        seen: seen.join("; "),
        figures,
    }
}
