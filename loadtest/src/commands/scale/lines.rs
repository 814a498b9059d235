//! The live timeline: a line whenever something changes, and every few seconds otherwise. Of the events those that are marked
//! in the plots; the reports have all of them.

use std::collections::BTreeSet;

use engine::units::short;
use prover::prove::{EventMark, Expected, Phase, Progress, Sample};

use crate::output;

/// Seconds after which a line comes even if nothing has changed.
const QUIET: f64 = 5.0;

/// Prints to standard output what is worth a line.
#[derive(Debug, Default)]
pub(super) struct Lines {
    said: Option<(f64, Vec<i32>, Phase, u64, bool)>,
    /// What was said of whom: the same event comes again and again, as probes do.
    events: BTreeSet<[String; 3]>,
}

impl Lines {
    pub(super) fn show(&mut self, progress: Progress<'_>, expected: &[Expected]) {
        match progress {
            Progress::Sample(sample) => self.sample(sample, expected),
            Progress::Event(event) => self.event(event),
            Progress::Stopping => eprintln!(
                "stopping: waiting for the requests in flight; once more to stop at once, without a report"
            ),
        }
    }

    fn sample(&mut self, sample: &Sample, expected: &[Expected]) {
        let hpas = expected.iter().filter_map(|one| sample.hpas.get(&one.hpa));
        let replicas: Vec<i32> = hpas.flat_map(|hpa| [hpa.desired, hpa.ready]).collect();
        let failed = sample.load.map_or(0, |load| load.failed);
        let now = (
            sample.at,
            replicas,
            sample.phase,
            failed,
            sample.problem.is_some(),
        );
        let news = self.said.as_ref().is_none_or(|said| {
            (&said.1, said.2, said.3, said.4) != (&now.1, now.2, now.3, now.4) || now.0 - said.0 >= QUIET
        });
        if news {
            self.said = Some(now);
            say(&describe(sample, expected));
        }
    }

    fn is_news(&mut self, event: &EventMark) -> bool {
        let text = [&event.regarding, &event.reason, &event.note].map(String::clone);
        event.is_notable() && self.events.insert(text)
    }

    fn event(&mut self, event: &EventMark) {
        if !self.is_news(event) {
            return;
        }
        let warning = if event.warning { "warning: " } else { "" };
        say(&format!(
            "{:>5.0} s  . {warning}{} {}: {}",
            event.at, event.regarding, event.reason, event.note
        ));
    }
}

fn say(line: &str) {
    // A reader that has gone is no reason to end the run.
    drop(output::print(&format!("{line}\n")));
}

fn describe(sample: &Sample, expected: &[Expected]) -> String {
    let mut parts = vec![format!("{:>5.0} s  {:<12}", sample.at, sample.phase.name())];
    if let Some(load) = &sample.load {
        parts.push(format!("{:>6} requests/s", short(load.achieved)));
    }
    for one in expected {
        parts.push(match sample.hpas.get(&one.hpa) {
            Some(hpa) => {
                let metric = hpa.metric_sum.map_or("-".to_owned(), |sum| format!("{sum:.0}"));
                format!(
                    "{}: metric {metric:>4}, wants {:>2}, ready {:>2}",
                    one.hpa, hpa.desired, hpa.ready
                )
            }
            None => format!("{}: cannot be read", one.hpa),
        });
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
            reporter: "somebody".to_owned(),
            reason: reason.to_owned(),
            note: "a sentence".to_owned(),
            warning,
        }
    }

    #[test]
    fn decisions_and_warnings_are_said_once_and_the_life_of_pods_is_not() {
        let mut lines = Lines::default();
        let rescale = event("HorizontalPodAutoscaler/app-a", "SuccessfulRescale", false);
        let unready = event("Pod/app-a-1", "Unhealthy", true);
        assert!(lines.is_news(&rescale) && lines.is_news(&unready));
        assert!(!lines.is_news(&unready), "a probe fails every two seconds");
        assert!(lines.is_news(&event("Pod/app-a-2", "Unhealthy", true)));
        assert!(!lines.is_news(&event("Pod/app-a-2", "Pulled", false)));
    }
}
