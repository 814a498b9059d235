//! The series of the pods that Prometheus stores: those of their `/metrics` page, after the `metric_relabel_configs` of each
//! job.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    discovery::Target,
    exposition::Exposition,
    query::Read,
    relabel::{Labels, Relabelling},
};

/// The series of one pod in Prometheus.
#[derive(Debug)]
pub struct Stored<'chain> {
    /// The targets of the pod with the relabelling of their samples; `None` if the scrape is not known.
    targets: Option<Vec<(&'chain Target, Result<Relabelling, String>)>>,
    /// The page of the pod; `None` if it is not known.
    page: Option<&'chain Exposition>,
    /// The outcome for each target and each series of the page.
    outcomes: Vec<Outcome<'chain>>,
}

/// What Prometheus stores for one series of one target.
#[derive(Clone, Debug)]
struct Outcome<'chain> {
    target: &'chain Target,
    /// The number of the series on the page.
    number: usize,
    /// The name on the page.
    exported: String,
    /// The name and the labels in Prometheus, or why the target drops the series.
    stored: Result<(String, Labels), String>,
    /// Whether the outcome is independent of labels that are not known.
    is_certain: bool,
}

/// How often the sum over the series of one pod counts a sample.
#[derive(Debug, PartialEq, Eq)]
pub enum Count {
    /// Once, as far as it is known.
    Once,
    /// Several jobs store the same sample. The text says which.
    Repeated(String),
    /// Several ports may serve the series.
    SeveralPorts,
}

impl<'chain> Stored<'chain> {
    /// Relabels the series of a page for each target. `None` means that the targets or the page are not known.
    #[must_use]
    pub fn new(targets: Option<&'chain [Target]>, page: Option<&'chain Exposition>) -> Self {
        let parsed = |target: &'chain Target| (target, Relabelling::parse(&target.metric_rules));
        let mut stored = Self {
            targets: targets.map(|targets| targets.iter().map(parsed).collect()),
            page,
            outcomes: Vec::new(),
        };
        if let Some(page) = page {
            let numbered = page.samples().enumerate();
            stored.outcomes = numbered
                .flat_map(|(number, (name, labels))| stored.outcomes_of(number, name, labels))
                .collect();
        }
        stored
    }

    fn outcomes_of(&self, number: usize, name: &str, labels: &Labels) -> Vec<Outcome<'chain>> {
        let outcome = |(target, relabelling): &(&'chain Target, Result<Relabelling, String>)| {
            let labels = with_target(target, name, labels);
            let (stored, is_certain) = match relabelling {
                Err(error) => (Err(error.clone()), true),
                Ok(relabelling) if self.page.is_some() => (relabelling.apply(labels), true),
                Ok(relabelling) => {
                    let (known, is_certain) = relabelling.for_labels(&labels);
                    (known.apply(labels), is_certain)
                }
            };
            Outcome {
                target,
                number,
                exported: name.to_owned(),
                stored: stored.map(|mut labels| {
                    let name = labels.remove("__name__").unwrap_or_default();
                    labels.retain(|_, value| !value.is_empty());
                    (name, labels)
                }),
                is_certain,
            }
        };
        self.targets.iter().flatten().map(outcome).collect()
    }

    /// Returns the outcomes for a series. Without a page, assumes a series without labels.
    fn outcomes_for(&self, series: &str) -> Vec<Outcome<'chain>> {
        if self.page.is_none() {
            return self.outcomes_of(0, series, &Labels::new());
        }
        let is_of = |outcome: &&Outcome<'_>| {
            outcome.exported == series || outcome.stored.as_ref().is_ok_and(|(name, _)| name == series)
        };
        self.outcomes.iter().filter(is_of).cloned().collect()
    }

    /// Returns the targets that store a series, each with the labels of the stored sample.
    fn deliveries(&self, series: &str) -> Vec<(Outcome<'chain>, Labels)> {
        let outcomes = self.outcomes_for(series).into_iter();
        outcomes
            .filter_map(|outcome| match &outcome.stored {
                Ok((name, labels)) if name == series => {
                    let labels = labels.clone();
                    Some((outcome, labels))
                }
                _ => None,
            })
            .collect()
    }

    /// Returns the targets that store what a query reads. Of the matchers of the query, only those for labels that Prometheus
    /// adds count, such as `job`: the pods may later export other values of their own labels.
    fn read(&self, read: &Read) -> Vec<(Outcome<'chain>, Labels)> {
        let mut deliveries = self.deliveries(&read.series);
        let mut added: BTreeSet<String> = deliveries
            .iter()
            .flat_map(|(_, labels)| labels.keys().cloned())
            .collect();
        for (name, labels) in self.page.iter().flat_map(|page| page.samples()) {
            if deliveries.iter().any(|(outcome, _)| outcome.exported == name) {
                added.retain(|label| !labels.contains_key(label));
            }
        }
        deliveries.retain(|(_, labels)| read.selects(labels, &added));
        deliveries
    }

    /// Returns the series in Prometheus, or those of the page if the scrape is not known; `None` without a page.
    #[must_use]
    pub fn exposition(&self) -> Option<Exposition> {
        let page = self.page?;
        if self.targets.is_none() {
            return Some(page.clone());
        }
        let stored = self
            .outcomes
            .iter()
            .filter_map(|outcome| outcome.stored.clone().ok());
        Some(Exposition::of(stored))
    }

    /// Explains why no job stores a series that the pods export, or may export. `None` if a job stores it, or if the page shows
    /// that the pods do not export it.
    #[must_use]
    pub fn why_dropped(&self, series: &str) -> Option<String> {
        let outcomes = self.outcomes_for(series);
        if outcomes.is_empty() || !self.deliveries(series).is_empty() {
            return None;
        }
        let mut reasons: BTreeMap<&str, String> = BTreeMap::new();
        for outcome in &outcomes {
            let reason = match &outcome.stored {
                Err(rule) => rule.clone(),
                Ok((name, _)) => format!("the series becomes {name:?}"),
            };
            reasons.entry(&outcome.target.job).or_insert(reason);
        }
        let reasons: Vec<String> = reasons
            .into_iter()
            .map(|(job, reason)| format!("{job}: {reason}"))
            .collect();
        Some(format!(
            "no job stores {series} of the pods: {}",
            reasons.join("; ")
        ))
    }

    /// Returns the labels that a series has from every job that stores it; `None` if no job is known to store it.
    #[must_use]
    pub fn labels(&self, series: &str) -> Option<BTreeSet<String>> {
        let mut of_targets: Vec<(&Target, BTreeSet<String>)> = Vec::new();
        for (outcome, labels) in self.deliveries(series) {
            let labels = labels.into_keys();
            match of_targets
                .iter_mut()
                .find(|(target, _)| *target == outcome.target)
            {
                Some((_, known)) => known.extend(labels),
                None => of_targets.push((outcome.target, labels.collect())),
            }
        }
        let sets = of_targets.into_iter().map(|(_, labels)| labels);
        sets.reduce(|labels, of_target| &labels & &of_target)
    }

    /// Returns the target with the longest scrape interval of those that store what a query reads.
    #[must_use]
    pub fn slowest(&self, read: &Read) -> Option<&'chain Target> {
        let targets = self.read(read).into_iter().map(|(outcome, _)| outcome.target);
        targets
            .filter(|target| target.interval.is_some())
            .max_by_key(|target| target.interval)
    }

    /// Counts how often Prometheus stores a sample that a query reads.
    #[must_use]
    pub fn count(&self, read: &Read) -> Count {
        let deliveries = self.read(read);
        let endpoint = |target: &Target| (target.port, target.path.clone());
        for (first, labels) in deliveries.iter().filter(|(outcome, _)| outcome.is_certain) {
            // Equal labels are one series.
            let mut stored = BTreeSet::from([labels]);
            let mut jobs = vec![&*first.target.job];
            for (other, labels) in &deliveries {
                let is_same =
                    other.number == first.number && endpoint(other.target) == endpoint(first.target);
                if is_same && other.is_certain && stored.insert(labels) {
                    jobs.push(&other.target.job);
                }
            }
            if jobs.len() > 1 {
                return Count::Repeated(repeated(&read.series, &jobs));
            }
        }
        let ports: BTreeSet<_> = deliveries
            .iter()
            .map(|(outcome, _)| endpoint(outcome.target))
            .collect();
        if ports.len() > 1 {
            Count::SeveralPorts
        } else {
            Count::Once
        }
    }
}

fn repeated(series: &str, jobs: &[&str]) -> String {
    let (times, all) = match jobs.len() {
        2 => ("twice".to_owned(), "both"),
        times => (format!("{times} times"), "all"),
    };
    let different: BTreeSet<&str> = jobs.iter().copied().collect();
    let who = if different.len() == 1 {
        format!("{} targets of {} {all} store", jobs.len(), jobs[0])
    } else {
        format!("{} {all} store", jobs.join(" and "))
    };
    format!("counted {times}: {who} {series} of the pod; the adapter sums {all}")
}

/// Returns the labels of a sample before its relabelling. A label of the target replaces one of the sample, which Prometheus
/// renames (`honor_labels: false`).
fn with_target(target: &Target, name: &str, labels: &Labels) -> Labels {
    let mut all = target.labels.clone();
    for (label, value) in labels {
        let label = if target.labels.contains_key(label) {
            format!("exported_{label}")
        } else {
            label.clone()
        };
        all.insert(label, value.clone());
    }
    all.insert("__name__".to_owned(), name.to_owned());
    all
}
