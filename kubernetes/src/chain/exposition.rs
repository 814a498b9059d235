//! What a binary exports, read from the text that it serves.

use regex::Regex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

static SAMPLE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})?\s+\S").expect("a valid pattern"));
static LABEL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"([a-zA-Z_]\w*)="(?:[^"\\]|\\.)*""#).expect("a valid pattern"));

/// The series of a `/metrics` page: names, each with the labels it has. Only what has a sample counts, because a counter
/// that appears with its first request loses that request's rate.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    series: BTreeMap<String, BTreeSet<String>>,
}

impl Exposition {
    /// Reads the text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut series: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for sample in text.lines().filter_map(|line| SAMPLE.captures(line)) {
            let labels = sample.get(2).map_or("", |labels| labels.as_str());
            let labels = LABEL.captures_iter(labels).map(|label| label[1].to_owned());
            series.entry(sample[1].to_owned()).or_default().extend(labels);
        }
        Self { series }
    }

    /// The names of all series.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.series.keys().map(String::as_str)
    }

    /// Whether the series has a sample.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.series.contains_key(name)
    }

    /// Whether the series has the label.
    #[must_use]
    pub fn has_label(&self, name: &str, label: &str) -> bool {
        self.series.get(name).is_some_and(|labels| labels.contains(label))
    }
}
