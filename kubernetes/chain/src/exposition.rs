//! The series that the pods export.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// The series of a `/metrics` page: each name with its labels.
///
/// A metric without samples is not in the list. Prometheus misses the first request of a counter that appears only with
/// that request.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    series: BTreeMap<String, BTreeSet<String>>,
}

impl Exposition {
    /// Parses a `/metrics` page.
    ///
    /// # Errors
    /// If the page does not follow the text format.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sample in wiring::exposition::parse(text)? {
            series
                .entry(sample.name)
                .or_default()
                .extend(sample.labels.into_keys());
        }
        Ok(Self { series })
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

    /// Whether the series has the label.
    #[must_use]
    pub fn has_label(&self, name: &str, label: &str) -> bool {
        self.series.get(name).is_some_and(|labels| labels.contains(label))
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
