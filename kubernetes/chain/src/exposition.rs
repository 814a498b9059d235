//! The series that the pods export.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use crate::relabel::Labels;

/// The series of a `/metrics` page, by their name.
///
/// A metric without samples is not in the list. Prometheus misses the first request of a counter that appears only with
/// that request.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    series: BTreeMap<String, Vec<Labels>>,
}

impl Exposition {
    /// Parses a `/metrics` page.
    ///
    /// # Errors
    /// If the page does not follow the text format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let samples = wiring::exposition::parse(text)?.into_iter();
        Ok(Self::of(samples.map(|sample| (sample.name, sample.labels))))
    }

    /// Creates a list of series from their names and labels.
    pub(crate) fn of(samples: impl Iterator<Item = (String, Labels)>) -> Self {
        let mut series: BTreeMap<String, Vec<Labels>> = BTreeMap::new();
        for (name, labels) in samples {
            series.entry(name).or_default().push(labels);
        }
        Self { series }
    }

    /// Returns the name and the labels of each series.
    pub(crate) fn samples(&self) -> impl Iterator<Item = (&str, &Labels)> {
        let series = self.series.iter();
        series.flat_map(|(name, samples)| samples.iter().map(|labels| (name.as_str(), labels)))
    }

    /// Returns the names of all series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Whether the series exists.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.series.contains_key(name)
    }

    /// Lists the names of series, starting with those that are most similar to `series`.
    pub(crate) fn list_similar(&self, series: &str) -> String {
        /// The maximum number of names that a message lists.
        const MAX_NAMES: usize = 8;
        let words: BTreeSet<&str> = series.split('_').collect();
        let mut names: Vec<&str> = self.names().collect();
        names.sort_by_key(|name| Reverse(name.split('_').filter(|word| words.contains(word)).count()));
        let more = names.len().saturating_sub(MAX_NAMES);
        names.truncate(MAX_NAMES);
        match (names.is_empty(), more) {
            (true, _) => "nothing".to_owned(),
            (false, 0) => names.join(", "),
            (false, more) => format!("{} and {more} more", names.join(", ")),
        }
    }
}
