//! The findings about one chain, and the diagnosis that follows from them.

use wiring::{
    Link,
    diagnosis::{Diagnosis, LinkReport, LinkState},
};

/// The order of the links in a diagnosis.
const LINKS: [Link; 8] = [
    Link::Hpa,
    Link::Pods,
    Link::PrometheusScrape,
    Link::ServiceMetric,
    Link::Apiservice,
    Link::AdapterRule,
    Link::PodSamples,
    Link::HpaActive,
];

/// Collects the findings about one chain.
#[derive(Debug, Default)]
pub(crate) struct Notes(Vec<(Link, Kind, String)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Works,
    Warning,
    Broken,
    NotChecked,
}

impl Notes {
    /// Two sides of the link agree.
    pub(crate) fn works(&mut self, link: Link, detail: impl Into<String>) {
        self.add(link, Kind::Works, detail.into());
    }

    /// The link has a fault that does not break it.
    pub(crate) fn warn(&mut self, link: Link, warning: impl Into<String>) {
        self.add(link, Kind::Warning, warning.into());
    }

    /// Two sides of the link contradict each other.
    pub(crate) fn broken(&mut self, link: Link, detail: impl Into<String>) {
        self.add(link, Kind::Broken, detail.into());
    }

    /// One side of the link is missing from the input.
    pub(crate) fn not_checked(&mut self, link: Link, detail: impl Into<String>) {
        self.add(link, Kind::NotChecked, detail.into());
    }

    /// Adds each reason as [`Notes::broken`].
    pub(crate) fn all_broken(&mut self, link: Link, reasons: impl IntoIterator<Item = String>) {
        reasons.into_iter().for_each(|reason| self.broken(link, reason));
    }

    fn add(&mut self, link: Link, kind: Kind, text: String) {
        let note = (link, kind, text);
        if !self.0.contains(&note) {
            self.0.push(note);
        }
    }

    fn of(&self, link: Link, kind: Kind) -> Vec<String> {
        let notes = self.0.iter().filter(|note| (note.0, note.1) == (link, kind));
        notes.map(|(.., text)| text.clone()).collect()
    }

    /// Returns the diagnosis. A link is broken if one of its parts is broken. Otherwise it works if at least one part
    /// was checked.
    pub(crate) fn diagnosis(&self, hpa: &str) -> Diagnosis {
        let report = |link| {
            let states = [
                (Kind::Broken, LinkState::Broken),
                (Kind::Works, LinkState::Ok),
                (Kind::NotChecked, LinkState::NotChecked),
            ];
            let found = states.into_iter().find_map(|(kind, state)| {
                let details = self.of(link, kind);
                (!details.is_empty()).then(|| (state, details.join("; ")))
            });
            let nothing = || {
                (
                    LinkState::NotChecked,
                    "an earlier link must be repaired first".to_owned(),
                )
            };
            let (state, detail) = found.unwrap_or_else(nothing);
            LinkReport {
                link,
                state,
                detail,
                look_at: None,
                warnings: self.of(link, Kind::Warning),
            }
        };
        Diagnosis {
            hpa: hpa.to_owned(),
            links: LINKS.map(report).into(),
        }
    }
}
