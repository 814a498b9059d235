//! The live timeline: prints a line after every change, and every 5 s without a change.
//!
//! Prints only the events that the plots mark. The reports contain all events.

use std::collections::BTreeSet;

use engine::units::short;
use prover::prove::{EventMark, Expected, NodesSample, Phase, Progress, Sample};

use crate::output::{self, Print};

/// The longest time between two lines, in seconds.
const MAX_SILENCE: f64 = 5.0;

/// Prints the timeline of a run.
#[derive(Debug)]
pub(super) struct LiveTimeline {
    print: Print,
    /// Whether the lines show the nodes.
    shows_nodes: bool,
    /// The state in the last printed line, and its time in seconds.
    printed: Option<(f64, State)>,
    /// The object, reason and note of each printed event. Kubernetes repeats events, for example of failed probes.
    printed_events: BTreeSet<[String; 3]>,
}

/// The part of a sample whose change is printed.
#[derive(Debug, PartialEq)]
struct State {
    /// The desired and the ready replicas of each HPA.
    replicas: Vec<i32>,
    /// The nodes, if the lines show them.
    nodes: Option<NodesSample>,
    phase: Phase,
    failed_requests: u64,
    has_problem: bool,
}

impl LiveTimeline {
    pub(super) fn new(shows_nodes: bool, print: Print) -> Self {
        Self {
            print,
            shows_nodes,
            printed: None,
            printed_events: BTreeSet::new(),
        }
    }

    pub(super) fn show(&mut self, progress: Progress<'_>, expected: &[Expected]) {
        match progress {
            Progress::Sample(sample) => self.sample(sample, expected),
            Progress::Event(event) => self.event(event),
            Progress::Stopping => output::status(
                "stopping: waiting for the requests in flight; a second signal stops at once without a report",
            ),
        }
    }

    fn sample(&mut self, sample: &Sample, expected: &[Expected]) {
        let hpas = expected.iter().filter_map(|hpa| sample.hpas.get(&hpa.hpa));
        let state = State {
            replicas: hpas.flat_map(|hpa| [hpa.desired, hpa.ready]).collect(),
            nodes: sample.nodes.filter(|_| self.shows_nodes),
            phase: sample.phase,
            failed_requests: sample.load.map_or(0, |load| load.failed),
            has_problem: sample.problem.is_some(),
        };
        let is_due = self
            .printed
            .as_ref()
            .is_none_or(|(at, printed)| *printed != state || sample.at - at >= MAX_SILENCE);
        if is_due {
            self.print_line(&describe(sample, expected, state.nodes));
            self.printed = Some((sample.at, state));
        }
    }

    /// Returns whether a notable event appears for the first time, and records it.
    fn is_first_occurrence(&mut self, event: &EventMark) -> bool {
        let key = [&event.regarding, &event.reason, &event.note].map(String::clone);
        event.is_notable() && self.printed_events.insert(key)
    }

    fn print_line(&self, line: &str) {
        // The run continues if the output fails.
        drop((self.print)(&format!("{line}\n")));
    }

    fn event(&mut self, event: &EventMark) {
        if !self.is_first_occurrence(event) {
            return;
        }
        let warning = if event.warning { "warning: " } else { "" };
        self.print_line(&format!(
            "{:>5.0} s  . {warning}{} {}: {}",
            event.at, event.regarding, event.reason, event.note
        ));
    }
}

fn describe(sample: &Sample, expected: &[Expected], nodes: Option<NodesSample>) -> String {
    let mut parts = vec![format!("{:>5.0} s  {:<12}", sample.at, sample.phase.name())];
    if let Some(load) = &sample.load {
        parts.push(format!("{:>6} requests/s", short(load.achieved)));
    }
    for Expected { hpa: name, .. } in expected {
        parts.push(match sample.hpas.get(name) {
            Some(hpa) => {
                let metric = hpa.metric_sum.map_or("-".to_owned(), |sum| format!("{sum:.0}"));
                format!(
                    "{name}: metric {metric:>4}, desired {:>2}, ready {:>2}",
                    hpa.desired, hpa.ready
                )
            }
            None => format!("{name}: cannot be read"),
        });
    }
    if let Some(nodes) = nodes {
        parts.push(format!(
            "nodes: {} of {} ready, zones {}",
            nodes.ready, nodes.total, nodes.zones
        ));
    }
    if let Some(load) = &sample.load {
        let p99 = load.latency_ms.p99.map_or("-".to_owned(), short);
        parts.push(format!("p99 {p99} ms, {} failed", load.failed));
    }
    parts.extend(sample.problem.iter().map(|problem| format!("({problem})")));
    parts.join("  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(regarding: &str, reason: &str, warning: bool) -> EventMark {
        EventMark {
            at: 1.0,
            regarding: regarding.to_owned(),
            reporter: "kubelet".to_owned(),
            reason: reason.to_owned(),
            note: "a note".to_owned(),
            warning,
        }
    }

    #[test]
    fn each_decision_and_warning_is_printed_once_and_pod_lifecycle_events_are_not() {
        let mut timeline = LiveTimeline::new(false, output::print);
        let rescale = event("HorizontalPodAutoscaler/app-a", "SuccessfulRescale", false);
        let unready = event("Pod/app-a-1", "Unhealthy", true);
        assert!(timeline.is_first_occurrence(&rescale) && timeline.is_first_occurrence(&unready));
        assert!(!timeline.is_first_occurrence(&unready), "the same event again");
        assert!(timeline.is_first_occurrence(&event("Pod/app-a-2", "Unhealthy", true)));
        assert!(!timeline.is_first_occurrence(&event("Pod/app-a-2", "Pulled", false)));
    }
}
